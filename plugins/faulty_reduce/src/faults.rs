//! The faults of a call.

use std::hint::black_box;

use wasmill_sdk::bindings::wasmill::plugin::columns::Failed;
use wasmill_sdk::bindings::wasmill::plugin::columns::Outcome;
use wasmill_sdk::bindings::wasmill::plugin::types::Failure;
use wasmill_sdk::bindings::wasmill::plugin::types::Reject;
use wasmill_sdk::bindings::wasmill::plugin::types::Retry;

use crate::settings::Fault;
use crate::settings::Told;

/// One more than a cell may have.
const CELL_BYTES: usize = 65_537;

/// The faults after which there is no answer, or an error.
pub(crate) fn before(told: &Told) -> Result<(), String> {
    match told.fault {
        Some(Fault::Trap) => panic!("told to trap"),
        Some(Fault::Loop) => work_for_ever(),
        Some(Fault::Error) => Err("told to fail".to_owned()),
        _ => Ok(()),
    }
}

fn work_for_ever() -> ! {
    let mut round = 0_u64;
    loop {
        round = black_box(round.wrapping_add(1));
    }
}

/// The failures of the records or windows that are told to fail, and of others that should not be there.
pub(crate) fn failures(told: &Told) -> Vec<Failed> {
    let rejected = |index: u32| {
        let reject = Reject { code: "told-to".to_owned(), reason: "told to reject".to_owned() };
        Failed { index, failure: Failure::Reject(reject) }
    };
    let retried = |index: u32| {
        let retry = Retry { delay_ms: None, reason: "told to retry".to_owned() };
        Failed { index, failure: Failure::Retry(retry) }
    };
    match told.fault {
        Some(Fault::Reject) => told.of.iter().copied().map(rejected).collect(),
        Some(Fault::Retry) => told.of.iter().copied().map(retried).collect(),
        Some(Fault::FailuresOutOfOrder) => [u32::from(told.all > 1), 0].map(rejected).into(),
        Some(Fault::FailureOutOfRange) => vec![rejected(told.all)],
        _ => Vec::new(),
    }
}

/// Damages the lengths and bytes of an answer.
pub(crate) fn change(told: &Told, lengths: &mut Vec<i32>, data: &mut Vec<u8>) {
    match told.fault {
        Some(Fault::TooFewLengths) => {
            let bytes = lengths.pop().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
            data.truncate(data.len() - bytes);
        }
        Some(Fault::TooManyLengths) => lengths.push(-2),
        Some(Fault::LengthBelow2) => {
            let bytes = lengths.pop().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
            data.truncate(data.len() - bytes);
            lengths.push(-3);
        }
        Some(Fault::BytesLeftOver) => data.push(0),
        Some(Fault::BytesMissing) => {
            data.pop();
        }
        Some(Fault::CellTooLarge) => {
            if let Some(first) = lengths.first_mut() {
                data.drain(..usize::try_from(*first).unwrap_or(0));
                data.splice(..0, [0; CELL_BYTES]);
                *first = 65_537;
            }
        }
        _ => {}
    }
}

/// Damages an outcome.
pub(crate) fn outcome(told: &Told, outcome: &mut Outcome) {
    match told.fault {
        // The output of the last window stays.
        Some(Fault::TooFewLengths) => {
            outcome.counts.pop();
        }
        Some(Fault::TooManyLengths) => outcome.counts.push(0),
        Some(Fault::LengthBelow2) => outcome.layout[0] = -3,
        Some(Fault::BytesLeftOver) => outcome.data.push(0),
        Some(Fault::BytesMissing) => {
            outcome.data.pop();
        }
        _ => {}
    }
}
