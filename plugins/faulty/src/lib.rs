//! A plugin for tests: the value of a record selects how it fails.
//!
//! | value | what happens |
//! |---|---|
//! | `trap` | panics, which is a trap |
//! | `trap-late` | panics, unless it is the first record of its instance: so it succeeds when it is run alone |
//! | `loop` | never ends |
//! | `grow` | allocates without end |
//! | `recurse` | calls itself without end |
//! | `reject [CODE]` | rejects the record, by default with the code `told-to` |
//! | `retry N [MS]` | asks for a retry at the first N attempts, after at least MS milliseconds if given; then forwards it |
//! | `error` | returns an error for the whole call |
//! | `busy US` | computes for about US microseconds (there is no clock here), then forwards it |
//! | `emit N` | emits N outputs, all like the input |
//! | `port N` | forwards it to port N, whether or not that exists |
//! | `drop` | emits nothing |
//! | `count N` | adds N to the counter `told`, then forwards it |
//! | `log` | writes the line `told to` at each level, then forwards it |
//!
//! Anything else is forwarded. With the setting `init` it fails at the start: `error`, `trap` or `loop`. Except for a
//! missing port, it can't return outcomes that violate the contract, because the SDK can't produce them.

use std::hint::black_box;
use std::time::Duration;

use wasmill_sdk::Emitter;
use wasmill_sdk::Record;
use wasmill_sdk::Transform;
use wasmill_sdk::Verdict;
use wasmill_sdk::error;
use wasmill_sdk::log;
use wasmill_sdk::metrics;
use wasmill_sdk::reject;
use wasmill_sdk::retry;
use wasmill_sdk::retry_after;

/// The number of loop iterations that take about a microsecond.
const ROUNDS_PER_US: u32 = 300;

struct Faulty {
    /// The number of records that this instance has seen.
    seen: u64,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    init: Option<Init>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Init {
    Error,
    Trap,
    Loop,
}

impl Transform for Faulty {
    fn init(settings: &str, _ports: &[String]) -> Result<Self, String> {
        let Settings { init } = serde_json::from_str(settings).map_err(|e| e.to_string())?;
        match init {
            None => Ok(Faulty { seen: 0 }),
            Some(Init::Error) => Err("told to fail at the start".to_owned()),
            Some(Init::Trap) => panic!("told to trap at the start"),
            Some(Init::Loop) => work_for_ever(),
        }
    }

    fn process(&mut self, record: Record<'_>, out: &mut Emitter<'_>) -> Verdict {
        self.seen += 1;
        let text = record.value.and_then(|value| str::from_utf8(value).ok()).unwrap_or_default();
        let mut words = text.split_ascii_whitespace();
        let verb = words.next().unwrap_or_default();
        let word = words.next();
        let number: u32 = word.and_then(|word| word.parse().ok()).unwrap_or(0);
        match verb {
            "trap" => panic!("told to trap at offset {}", record.offset),
            "trap-late" if self.seen > 1 => panic!("told to trap at offset {} in company", record.offset),
            "loop" => work_for_ever(),
            "grow" => grow(),
            "recurse" => {
                black_box(recurse(0));
            }
            "reject" => return Err(reject(word.unwrap_or("told-to").to_owned(), "told to reject")),
            "retry" if record.attempt < number => {
                return Err(match words.next().and_then(|ms| ms.parse().ok()) {
                    Some(ms) => retry_after(Duration::from_millis(ms), "told to wait"),
                    None => retry("told to retry"),
                });
            }
            "error" => return Err(error("told to fail")),
            "busy" => (0..number).for_each(|_| work_for_a_microsecond()),
            "emit" => {
                (0..number).for_each(|_| out.forward(0));
                return Ok(());
            }
            "port" => {
                out.forward(number);
                return Ok(());
            }
            "drop" => return Ok(()),
            "count" => metrics::count("told", number.into()),
            "log" => {
                [log::trace, log::debug, log::info, log::warn, log::error].iter().for_each(|write| write("told to"))
            }
            _ => {}
        }
        out.forward(0);
        Ok(())
    }
}

wasmill_sdk::export!(Faulty);

fn work_for_a_microsecond() {
    (0..ROUNDS_PER_US).for_each(|round| {
        black_box(round);
    });
}

fn work_for_ever() -> ! {
    loop {
        work_for_a_microsecond();
    }
}

/// Ends in the trap of an allocation for which memory is refused.
fn grow() -> ! {
    let mut hoard = Vec::new();
    loop {
        hoard.push(vec![1_u8; 1 << 20]);
        black_box(&hoard);
    }
}

/// Written so that the optimizer can't turn it into a loop.
#[expect(unconditional_recursion, reason = "the stack is to overflow")]
fn recurse(depth: u64) -> u64 {
    black_box(recurse(black_box(depth + 1))) + depth
}

#[cfg(test)]
mod tests;
