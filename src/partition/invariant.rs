//! PURE. The invariants of a partition's state, for debug assertions and the model tests.

use super::PartitionState;

/// The first invariant that is broken.
pub(super) fn broken(state: &PartitionState) -> Option<&'static str> {
    let PartitionState { ledger, strand, numbers, .. } = state;
    let rules = [
        (ledger.next().n() < *numbers, "the numbers of an assignment don't run out"),
        (strand.due() == ledger.produced_prefix(), "a partition of one strand gets its outcomes in the order received"),
    ];
    let own = rules.into_iter().find_map(|(holds, rule)| (!holds).then_some(rule));
    own.or_else(|| ledger.broken()).or_else(|| strand.broken())
}
