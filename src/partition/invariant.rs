//! PURE. The invariants of a partition's state, for debug assertions and the model tests.

use super::PartitionState;
use super::strand::Strand;

/// The first invariant that is broken.
pub(super) fn broken(state: &PartitionState) -> Option<&'static str> {
    let PartitionState { ledger, strands, numbers, .. } = state;
    let due = strands.iter().filter_map(Strand::due).min();
    let rules = [
        (ledger.next().n() < *numbers, "the numbers of an assignment don't run out"),
        (
            state.upto.is_some() || due.is_none_or(|due| due == ledger.produced_prefix()),
            "the first record that is due is the first without an outcome",
        ),
    ];
    let own = rules.into_iter().find_map(|(holds, rule)| (!holds).then_some(rule));
    own.or_else(|| ledger.broken()).or_else(|| strands.iter().find_map(Strand::broken))
}
