//! Members of a group with state that freeze (F5 state), come and go (F14 state), or get no answers (F9 state).

use std::thread;
use std::time::Duration;

use crate::load::PARTITIONS;
use crate::network::IMPATIENT;
use crate::proxy::ADD_PARTITIONS_TO_TXN;
use crate::proxy::END_TXN;
use crate::proxy::OFFSET_COMMIT;
use crate::proxy::PRODUCE;
use crate::proxy::TXN_OFFSET_COMMIT;
use crate::rows::Case;
use crate::state_load::StateLoad;
use crate::state_load::end;
use crate::support::broker;
use crate::support::clock::Watch;
use crate::support::java;
use crate::support::wasmill::Process;
use crate::support::wasmill::is_exactly_once;

const LIMIT: Duration = Duration::from_secs(120);

pub(crate) fn frozen(case: &Case) {
    case.inject("stopped", "SIGSTOP of one of two workers for three sessions of 3 s, then SIGCONT", || {
        let leave = |one: &Process| broker::signal(one.id(), "STOP");
        let come = |one: &Process| broker::signal(one.id(), "CONT");
        gone_for_a_while(case, "", leave, come)
    });
    case.inject(
        "cut-off",
        "no answer to Produce comes back to one of two workers for 1 to 2 s, then nothing passes between it and the broker for three sessions \
         of 3 s",
        || {
            let proxy = broker::proxy();
            let direct = format!("[\"{}\"]", broker::brokers());
            let leave = |_: &Process| {
                proxy.swallow(PRODUCE, 1);
                thread::sleep(Duration::from_millis(1000 + case.below(1000)));
                proxy.cut();
            };
            let come = |_: &Process| {
                proxy.relent();
                // Otherwise it waits a minute for its answers.
                proxy.reset();
            };
            gone_for_a_while(case, &direct, leave, come)
        },
    );
}

/// One of two workers is away for longer than its session, and comes back while the feed goes on.
///
/// At least once, what it had begun to write may reach the changelog after the other one has taken over, as docs/windows.md says: then results
/// may be wrong, and the figures tell how many.
fn gone_for_a_while(case: &Case, brokers: &str, leave: impl Fn(&Process), come: impl Fn(&Process)) -> String {
    let load = StateLoad::new("state-zombie", case);
    let group = load.windowed.group.clone();
    let mut one = load.start();
    let set = format!("kafka.brokers={brokers}");
    let more: &[&str] = if brokers.is_empty() { &[] } else { &["--set", &set] };
    let mut two = load.windowed.run_in(&[], more);
    two.ready();
    two.wait("both to have partitions", LIMIT, |_| are_shared(&group));
    load.resumes(&mut one);
    // Anywhere in a cycle.
    thread::sleep(Duration::from_millis(case.below(1000)));
    leave(&one);
    two.wait("the other one to have all partitions", LIMIT, |_| {
        java::members(&group).is_some_and(|members| members == [PARTITIONS])
    });
    thread::sleep(Duration::from_secs(4) + Duration::from_millis(case.below(1000)));
    come(&one);
    one.wait("both to have partitions again", LIMIT, |_| are_shared(&group));
    let resumed = load.resumes(&mut two);
    end(&mut one);
    let verdict = if is_exactly_once() { load.finish(two) } else { load.finish_inexact(two) };
    format!("commits of both {resumed:.1?} after it is back; {verdict}")
}

fn are_shared(group: &str) -> bool {
    java::members(group).is_some_and(|members| members.len() == 2 && !members.contains(&0))
}

pub(crate) fn storm(case: &Case) {
    let length = Duration::from_secs(if case.full { 120 } else { 20 });
    let injected =
        format!("a second worker comes or goes every 2 to 3 s for {} s, by SIGTERM or kill -9", length.as_secs());
    case.inject("", &injected, || {
        let load = StateLoad::new("state-storm", case);
        let mut first = load.start();
        let watch = Watch::start();
        let mut second: Option<Process> = None;
        let (mut joins, mut kills) = (0, 0);
        while watch.elapsed() < length {
            second = match second.take() {
                None => {
                    joins += 1;
                    Some(load.windowed.run())
                }
                Some(process) if case.below(2) == 0 => {
                    kills += 1;
                    process.kill();
                    None
                }
                Some(mut process) => {
                    process.terminate();
                    // It may not have installed its signal handler yet: then the signal itself ends it.
                    process.exit(Duration::from_secs(25));
                    None
                }
            };
            thread::sleep(Duration::from_millis(2000 + case.below(1000)));
            assert_eq!(first.ended(), None, "the first one stays");
        }
        if let Some(mut process) = second {
            process.terminate();
            process.exit(Duration::from_secs(25));
        }
        let resumed = load.resumes(&mut first);
        let restores = first.metric("wasmill_restore_seconds_count").unwrap_or(0.0);
        let verdict = load.finish(first);
        format!("{joins} joins, {kills} kills; {restores} restores of the one that stays; commits {resumed:.1?} after the storm; {verdict}")
    });
}

pub(crate) fn unanswered(case: &Case) {
    let few = if case.full { 10 } else { 3 };
    let transactional =
        [("EndTxn", END_TXN), ("TxnOffsetCommit", TXN_OFFSET_COMMIT), ("AddPartitionsToTxn", ADD_PARTITIONS_TO_TXN)];
    let plain = [("Produce", PRODUCE), ("OffsetCommit", OFFSET_COMMIT)];
    let apis = if is_exactly_once() { &transactional[..] } else { &plain[..] };
    for &(name, api) in apis {
        let every = 5 + case.below(10);
        case.inject(name, &format!("one in {every} answers to {name} swallowed until {few} are"), || {
            let proxy = broker::proxy();
            let load = StateLoad::with("state-unanswered", case, IMPATIENT);
            let mut process = load.start();
            proxy.swallow(api, every);
            process.wait("answers to be swallowed", Duration::from_secs(240), |_| proxy.hits() >= few);
            let swallowed = proxy.relent();
            let resumes = load.resumes(&mut process);
            let verdict = load.finish(process);
            format!("{swallowed} swallowed; next commits after {resumes:.1?}; {verdict}")
        });
    }
}
