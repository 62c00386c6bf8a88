//! The partition's state, its ledger and its strand against naive oracles, over random schedules; and single cases.

mod cases;
mod ledger;
mod model;
mod strand;
mod world;

use crate::partition::Breaker;
use crate::partition::OnFailure;
use crate::partition::PartitionState;
use crate::partition::Policy;
use crate::partition::Retries;
use crate::partition::Rule;
use crate::record::AssignmentId;
use crate::record::AssignmentIds;
use crate::record::Offset;

/// The assignment id with this number.
fn id(number: usize) -> AssignmentId {
    let mut ids = AssignmentIds::default();
    (0..number).for_each(|_| _ = ids.issue(|_| false));
    ids.issue(|_| false)
}

/// The breaker of the model trips at more than `ALLOWED` faults among the last `WINDOW` records.
const WINDOW: usize = 8;
const ALLOWED: usize = 2;

/// The upper bound of record numbers in an assignment: the longest log fits, and reaches the second half, in which a new
/// assignment begins.
const NUMBERS: u64 = 44;

const RETRIES: u32 = 2;

fn policy(then: OnFailure) -> Policy {
    Policy { general: Rule { retries: Retries::Times(RETRIES), then, ..Rule::default() }, ..Policy::default() }
}

fn state(then: OnFailure, assignment: AssignmentId, start: Offset, commit_start: bool, strands: u16) -> PartitionState {
    let state = PartitionState::new(policy(then), assignment, start, commit_start);
    let mut state = state.with_strands(strands.into());
    // Of several strands the oracle can't tell in which order the outcomes come.
    state.breaker = Breaker::of(WINDOW as u64, if strands == 1 { ALLOWED } else { usize::MAX }, None);
    state.numbers = NUMBERS;
    state
}
