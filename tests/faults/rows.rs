//! The matrix: every row, what it breaks, and how it is run; rows that are not run have a reason.

use std::cell::RefCell;
use std::io::Write as _;
use std::panic;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::crash;
use crate::ending;
use crate::group;
use crate::machine;
use crate::network;
use crate::outage;
use crate::plugins;
use crate::random_faults;
use crate::report::Result;
use crate::state_crash;
use crate::state_group;
use crate::state_scale;
use crate::support::random::Random;
use crate::support::wasmill::is_exactly_once;

/// A row of the matrix.
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) fault: &'static str,
    pub(crate) how: How,
}

/// How a row is run.
pub(crate) enum How {
    Run(fn(&Case)),
    /// The same with either delivery.
    Both(fn(&Case)),
    /// With exactly-once delivery only.
    Once(fn(&Case)),
    /// The same as root in a mount namespace of its own, so that it may mount file systems.
    Mount(fn(&Case)),
    /// Runs tests of another binary.
    Test {
        binary: &'static str,
        filter: &'static str,
    },
}

const fn run(id: &'static str, fault: &'static str, how: fn(&Case)) -> Row {
    Row { id, fault, how: How::Run(how) }
}

const fn both(id: &'static str, fault: &'static str, how: fn(&Case)) -> Row {
    Row { id, fault, how: How::Both(how) }
}

const fn once(id: &'static str, fault: &'static str, how: fn(&Case)) -> Row {
    Row { id, fault, how: How::Once(how) }
}

const fn mount(id: &'static str, fault: &'static str, how: fn(&Case)) -> Row {
    Row { id, fault, how: How::Mount(how) }
}

const fn test(id: &'static str, fault: &'static str, binary: &'static str, filter: &'static str) -> Row {
    Row { id, fault, how: How::Test { binary, filter } }
}

pub(crate) const ROWS: [Row; 45] = [
    both("F1", "crash at a step of a record's path", crash::sweep),
    both("F1 state", "crash at a step of the state's path", state_crash::sweep),
    test("F2", "kill -9 at any time", "it", "kill_9"),
    test("F2 state", "kill -9 at any time, with state", "it", "windows::kill_9"),
    both("F3", "SIGTERM under load", ending::terminated),
    run("F4", "SIGTERM while the output can't be reached", ending::terminated_without_output),
    both("F5", "a worker frozen past its session", group::frozen),
    both("F5 state", "a worker with state frozen past its session", state_group::frozen),
    once("F6", "a second process with the same transactional id", group::same_id),
    both("F7", "broker kill -9 and restart", outage::killed),
    both("F8", "broker frozen", outage::frozen),
    once("F9", "answers about transactions swallowed", network::transaction_unanswered),
    both("F9 state", "answers swallowed while state is written", state_group::unanswered),
    both("F10", "answers to Produce swallowed", network::produce_unanswered),
    run("F11", "answers to OffsetCommit swallowed", network::commit_unanswered),
    both("F12", "connections reset again and again", network::flapping),
    both("F13", "coordinator and leaders move", outage::moved),
    both("F14", "workers come and go", group::storm),
    both("F14 state", "workers with state come and go", state_group::storm),
    both("F15", "a revoke during a slow call", group::revoke_in_a_call),
    both("F16", "paused, then given to another", group::paused_and_moved),
    run("F17", "a slow plugin", group::slow_plugin),
    both("F18", "a slow output", network::slow_output),
    test("F19", "records that break the plugin", "it", "dead_letter::records_that_break_the_plugin"),
    test("F20", "every record breaks the plugin", "it", "dead_letter::when_every_record_breaks"),
    test("F21", "headers and values that few expect", "it", "hostile::hostile_records_arrive"),
    test("F22", "outputs around the topic's size limit", "it", "dead_letter::outputs_up_to_the_limit"),
    test("F23", "a guest that loops, recurses or hoards", "plugin_host", "faults::"),
    test("F24", "a guest's result that is too large or malformed", "plugin_host", "malformed::"),
    run("F25", "a component that is no component, or is huge", plugins::bombs),
    test("F26", "a corrupt module on reload", "it", "reload::bad_files"),
    test("F27", "a reload every second", "it", "reload::a_version_each_second"),
    mount("F28", "the worker's disk is full", machine::disk_full),
    mount("F29", "the broker's disk is full", outage::disk_full),
    run("F30", "a memory limit of the system", machine::memory_limit),
    run("F31", "no more file descriptors", machine::descriptors),
    run("F32", "the output's topic is deleted", machine::topic_deleted),
    test("F33", "the clock jumps", "it", "environments::the_clock_jumps"),
    run("F34", "error codes that nobody knows", network::unknown_codes),
    run("F35", "a thread panics", crash::panics),
    both("F36", "random faults, one after the other", random_faults::many),
    run("F37", "SIGTERM while a broker is frozen", ending::terminated_while_frozen),
    run("F38", "the output is away, the input full", network::output_away),
    both("F39", "two processes with state restarted in turn", state_scale::rolling),
    both("F40", "a million keys", state_scale::memory),
];

/// A running row, in a process of its own.
#[derive(Debug)]
pub(crate) struct Case {
    row: &'static str,
    /// Whether to run the long schedule.
    pub(crate) full: bool,
    /// Whether to leave out what the other delivery shows already.
    pub(crate) slice: bool,
    random: RefCell<Random>,
}

/// The message of the first panic, which is reported as the result of a failed row.
static LAST_WORDS: Mutex<String> = Mutex::new(String::new());

impl Case {
    /// Runs a row in this process and prints its results.
    pub(crate) fn run_here(row: &Row, full: bool, slice: bool) {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let text = info.payload_as_str().unwrap_or("a panic");
            let place =
                info.location().map_or_else(String::new, |place| format!("{}:{}: ", place.file(), place.line()));
            // The first panic in a row is the reason.
            let mut words = LAST_WORDS.lock().unwrap_or_else(PoisonError::into_inner);
            if words.is_empty() {
                *words = format!("{place}{text}");
            }
            drop(words);
            before(info);
        }));
        let (How::Run(steps) | How::Both(steps) | How::Once(steps) | How::Mount(steps)) = row.how else { return };
        let case = Case { row: row.id, full, slice, random: RefCell::new(Random::seeded(row.id)) };
        steps(&case);
    }

    /// A number below `bound`, determined by the seed.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.random.borrow_mut().below(bound)
    }

    /// Injects a fault and prints the result: the figures that `steps` returns, or why it failed.
    pub(crate) fn inject(&self, variant: &str, injected: &str, steps: impl FnOnce() -> String) {
        let once = is_exactly_once().then_some("exactly once");
        let parts: Vec<&str> = once.into_iter().chain([variant]).filter(|part| !part.is_empty()).collect();
        let row = if parts.is_empty() { self.row.to_owned() } else { format!("{}/{}", self.row, parts.join(", ")) };
        LAST_WORDS.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let result = match panic::catch_unwind(AssertUnwindSafe(steps)) {
            Ok(figures) => Result::passed(&row, injected, &figures),
            Err(_) => {
                let why = LAST_WORDS.lock().unwrap_or_else(PoisonError::into_inner).clone();
                Result::failed(&row, injected, &why)
            }
        };
        let mut out = std::io::stdout();
        // Without a reader the result is lost.
        let _ = writeln!(out, "{}", result.line());
        let _ = out.flush();
    }
}
