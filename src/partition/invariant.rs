//! What always holds of a partition's state, whatever the events: for debug assertions and the model tests.

use super::PartitionState;

/// The first invariant that doesn't hold.
pub(super) fn broken(state: &PartitionState) -> Option<&'static str> {
    let low = state.watermark.low();
    let rules = [
        (state.stored.is_none_or(|stored| stored <= low), "stored <= low"),
        (low <= state.watermark.position(), "low <= position"),
        (state.watermark.is_ordered(), "the records in flight are in order"),
        (state.watermark.next().n() < state.numbers, "the numbers of an assignment don't run out"),
        (state.watermark.next().assignment() == state.assignment, "the records in flight are of the assignment"),
    ];
    rules.into_iter().find_map(|(holds, rule)| (!holds).then_some(rule))
}
