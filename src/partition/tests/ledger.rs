//! The ledger against a naive oracle: outcomes in any order, one assignment after the other.
//!
//! The oracle keeps every record that an assignment received with everything reported about it, and derives each answer from
//! scratch.

use proptest::prelude::*;

use super::id;
use crate::partition::ledger::Boundary;
use crate::partition::ledger::Fate;
use crate::partition::ledger::Ledger;
use crate::partition::ledger::Settled;
use crate::record::Offset;
use crate::record::Seq;
use crate::record::Seqs;

/// A step of a random schedule. Numbers are taken modulo the number of candidates.
#[derive(Clone, Debug)]
enum Step {
    /// Records are received: how many, their leader epoch, and a gap before each whose bit is set.
    Receive(usize, i32, u8),
    /// An executor gets consecutive queued records.
    Run(usize, usize),
    /// Consecutive records at an executor get these outcomes.
    Produce(usize, Vec<Outcome>),
    /// Consecutive records are returned, with outcomes or without.
    Requeue(usize, usize),
    /// One output of each of these consecutive records is acknowledged.
    Acknowledge(usize, usize),
    Miss(usize),
    /// A record fails because its last outputs can't be sent.
    GiveUp(usize, bool, u32),
    Limit(usize),
    LeaveRunning,
    Position(i64),
    Cut,
    /// The broker confirms the last cut.
    Confirm,
    Abort,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Outputs(u32),
    DeadLetter,
    Skip,
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = || prop_oneof![6 => (0_u32..3).prop_map(Outcome::Outputs), 1 => Just(Outcome::DeadLetter), 1 => Just(Outcome::Skip)];
    prop_oneof![
        8 => (1_usize..6, -1_i32..4, any::<u8>()).prop_map(|(count, leader, gaps)| Step::Receive(count, leader, gaps)),
        8 => (any::<usize>(), 1_usize..5).prop_map(|(which, count)| Step::Run(which, count)),
        10 => (any::<usize>(), prop::collection::vec(outcome(), 1..4)).prop_map(|(which, of)| Step::Produce(which, of)),
        3 => (any::<usize>(), 1_usize..6).prop_map(|(which, count)| Step::Requeue(which, count)),
        16 => (any::<usize>(), 1_usize..5).prop_map(|(which, count)| Step::Acknowledge(which, count)),
        1 => any::<usize>().prop_map(Step::Miss),
        2 => (any::<usize>(), any::<bool>(), any::<u32>()).prop_map(|(which, letter, n)| Step::GiveUp(which, letter, n)),
        1 => any::<usize>().prop_map(Step::Limit),
        1 => Just(Step::LeaveRunning),
        2 => (0_i64..9).prop_map(Step::Position),
        8 => Just(Step::Cut),
        3 => Just(Step::Confirm),
        1 => Just(Step::Abort),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Row {
    offset: i64,
    leader_epoch: i32,
    at: At,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Queued,
    Running,
    Done { pending: u32, is_lost: bool, fate: Fate },
}

impl Row {
    fn is_settled(&self) -> bool {
        matches!(self.at, At::Done { pending: 0, is_lost: false, .. })
    }

    fn pending(&self) -> u32 {
        if let At::Done { pending, .. } = self.at { pending } else { 0 }
    }
}

struct Oracle {
    assignments: usize,
    /// All records of the assignment.
    rows: Vec<Row>,
    position: i64,
    ceiling: Option<usize>,
    cut: Option<i64>,
    committed: Option<i64>,
    /// The leader epoch of the last record settled before this assignment.
    leader_epoch: i32,
    /// What had settled before this assignment.
    settled: Settled,
}

impl Oracle {
    /// The number of settled records from the first on.
    fn prefix(&self) -> usize {
        let settled = self.rows.iter().take_while(|row| row.is_settled()).count();
        self.ceiling.map_or(settled, |ceiling| settled.min(ceiling))
    }

    fn low(&self) -> i64 {
        self.rows.get(self.prefix()).map_or(self.position, |row| row.offset)
    }

    fn leader_epoch(&self) -> i32 {
        self.rows[..self.prefix()].last().map_or(self.leader_epoch, |row| row.leader_epoch)
    }

    fn settled(&self) -> Settled {
        let mut settled = self.settled;
        for row in &self.rows[..self.prefix()] {
            let At::Done { fate, .. } = row.at else { unreachable!("it is settled") };
            *match fate {
                Fate::Filtered => &mut settled.filtered,
                Fate::Emitted => &mut settled.emitted,
                Fate::DeadLettered => &mut settled.dead_lettered,
                Fate::Skipped => &mut settled.skipped,
            } += 1;
        }
        settled
    }

    fn seq(&self, n: usize) -> Seq {
        Seq::first_of(id(self.assignments)).plus(n)
    }

    /// The indices of the records in flight for which `which` holds.
    fn places(&self, which: impl Fn(&Row) -> bool) -> Vec<usize> {
        (self.prefix()..self.rows.len()).filter(|&place| which(&self.rows[place])).collect()
    }

    /// Consecutive records for which `of` holds, at most `count`, from a chosen one on.
    fn stretch(&self, which: usize, count: usize, of: impl Fn(&Row) -> bool) -> Option<std::ops::Range<usize>> {
        let first = pick(&self.places(&of), which)?;
        let follow = self.rows[first..].iter().take(count).take_while(|row| of(row)).count();
        Some(first..first + follow)
    }
}

fn pick(of: &[usize], which: usize) -> Option<usize> {
    (!of.is_empty()).then(|| of[which % of.len()])
}

/// Carries out a step on both.
fn carry_out(step: &Step, ledger: &mut Ledger, oracle: &mut Oracle) {
    match step {
        Step::Receive(count, leader_epoch, gaps) => {
            let from = oracle.rows.len();
            for n in 0..*count {
                let offset = oracle.position + i64::from(gaps >> n & 1);
                oracle.rows.push(Row { offset, leader_epoch: *leader_epoch, at: At::Queued });
                oracle.position = offset + 1;
            }
            let offsets: Vec<i64> = oracle.rows[from..].iter().map(|row| row.offset).collect();
            ledger.receive(&offsets, *leader_epoch);
        }
        Step::Run(which, count) => {
            let Some(stretch) = oracle.stretch(*which, *count, |row| row.at == At::Queued) else { return };
            ledger.run(Seqs::consecutive(oracle.seq(stretch.start), stretch.len()));
            oracle.rows[stretch].iter_mut().for_each(|row| row.at = At::Running);
        }
        Step::Produce(which, outcomes) => {
            let Some(stretch) = oracle.stretch(*which, outcomes.len(), |row| row.at == At::Running) else { return };
            let (mut outputs, mut given_up) = (Vec::new(), Vec::new());
            for (place, (row, outcome)) in oracle.rows[stretch.clone()].iter_mut().zip(outcomes).enumerate() {
                let (pending, fate) = match *outcome {
                    Outcome::Outputs(0) => (0, Fate::Filtered),
                    Outcome::Outputs(outputs) => (outputs, Fate::Emitted),
                    Outcome::DeadLetter => (1, Fate::DeadLettered),
                    Outcome::Skip => (0, Fate::Skipped),
                };
                row.at = At::Done { pending, is_lost: false, fate };
                // The outputs of a failed record don't count.
                outputs.push(if let Outcome::Outputs(outputs) = outcome { *outputs } else { 2 });
                if !matches!(outcome, Outcome::Outputs(_)) {
                    given_up.push((place, fate));
                }
            }
            ledger.produce(Seqs::consecutive(oracle.seq(stretch.start), stretch.len()), &outputs, &given_up);
        }
        Step::Requeue(which, count) => {
            let Some(first) = pick(&oracle.places(|_| true), *which) else { return };
            let count = (*count).min(oracle.rows.len() - first);
            ledger.requeue(Seqs::consecutive(oracle.seq(first), count));
            let back = oracle.rows[first..first + count].iter_mut().filter(|row| row.at == At::Running);
            back.for_each(|row| row.at = At::Queued);
        }
        Step::Acknowledge(which, count) => {
            let Some(stretch) = oracle.stretch(*which, *count, |row| row.pending() > 0) else { return };
            ledger.acknowledge(oracle.seq(stretch.start), oracle.seq(stretch.end - 1));
            for row in &mut oracle.rows[stretch] {
                let At::Done { pending, .. } = &mut row.at else { unreachable!("some are pending") };
                *pending -= 1;
            }
        }
        Step::Miss(which) => {
            let Some(place) = pick(&oracle.places(|row| row.pending() > 0), *which) else { return };
            ledger.miss(oracle.seq(place));
            let At::Done { pending, is_lost, .. } = &mut oracle.rows[place].at else {
                unreachable!("some are pending")
            };
            *pending -= 1;
            *is_lost = true;
        }
        Step::GiveUp(which, letter, unsent) => {
            let Some(place) = pick(&oracle.places(|row| row.pending() > 0), *which) else { return };
            let seq = oracle.seq(place);
            let At::Done { pending, fate, .. } = &mut oracle.rows[place].at else { unreachable!("some are pending") };
            let unsent = unsent % *pending + 1;
            let then = if *letter { Fate::DeadLettered } else { Fate::Skipped };
            *pending -= unsent;
            let is_first = *fate == Fate::Emitted;
            if is_first {
                *pending += u32::from(*letter);
                *fate = then;
            }
            assert_eq!(ledger.give_up(seq, then, unsent), is_first, "a record is given up once");
        }
        Step::Limit(which) => {
            let Some(place) = pick(&oracle.places(|_| true), *which) else { return };
            ledger.limit(oracle.seq(place));
            oracle.ceiling = Some(oracle.ceiling.map_or(place, |before| before.min(place)));
        }
        Step::LeaveRunning => {
            ledger.leave_running();
            let from = oracle.ceiling.unwrap_or(oracle.rows.len());
            let left = oracle.rows[from..].iter_mut().filter(|row| row.at == At::Running);
            left.for_each(|row| row.at = At::Queued);
        }
        Step::Position(further) => {
            ledger.advance_position(Offset(oracle.position + further - 2));
            if oracle.prefix() == oracle.rows.len() {
                oracle.position = oracle.position.max(oracle.position + further - 2);
            }
        }
        Step::Cut => {
            let low = oracle.low();
            let moved = oracle.cut.is_none_or(|cut| cut < low);
            let expected = moved.then(|| Boundary { offset: Offset(low), leader_epoch: oracle.leader_epoch() });
            assert_eq!(ledger.cut(), expected);
            oracle.cut = Some(low);
        }
        Step::Confirm => {
            if let Some(cut) = oracle.cut {
                ledger.confirm(Offset(cut));
                oracle.committed = Some(cut);
            }
        }
        Step::Abort => {
            let low = oracle.low();
            let assignments = oracle.assignments + 1;
            assert_eq!(ledger.abort(id(assignments)), Offset(low));
            *oracle = Oracle {
                assignments,
                rows: Vec::new(),
                position: low,
                ceiling: None,
                leader_epoch: oracle.leader_epoch(),
                settled: oracle.settled(),
                ..*oracle
            };
        }
    }
}

/// Compares everything that both report.
fn compare(ledger: &Ledger, oracle: &Oracle) {
    let (prefix, rows) = (oracle.prefix(), &oracle.rows);
    assert_eq!(ledger.assignment(), id(oracle.assignments));
    assert_eq!(ledger.settled_prefix(), oracle.seq(prefix), "settled prefix");
    let produced = rows.iter().take_while(|row| matches!(row.at, At::Done { .. })).count();
    assert_eq!(ledger.produced_prefix(), oracle.seq(produced), "produced prefix");
    assert_eq!(ledger.next(), oracle.seq(rows.len()));
    assert_eq!(ledger.in_flight(), rows.len() - prefix);
    assert_eq!(ledger.low(), Offset(oracle.low()));
    assert_eq!(ledger.committed(), oracle.committed.map(Offset));
    assert_eq!(ledger.ceiling(), oracle.ceiling.map(|ceiling| oracle.seq(ceiling)));
    assert_eq!(ledger.is_idle(), oracle.places(|row| row.at == At::Running).is_empty(), "idle");
    let open = |row: &Row| matches!(row.at, At::Done { .. }) && !row.is_settled();
    let is_below = oracle.ceiling.is_some_and(|ceiling| prefix >= ceiling);
    assert_eq!(ledger.is_acknowledged(), oracle.places(open).is_empty() || is_below, "acknowledged");
    let out = oracle.places(|row| row.pending() > 0);
    assert_eq!(ledger.is_out(), !out.is_empty(), "out");
    let is_above = |place: &usize| oracle.ceiling.is_some_and(|ceiling| *place >= ceiling);
    assert_eq!(ledger.is_reported(), out.iter().all(is_above), "reported");
    let is_lost = rows.iter().any(|row| matches!(row.at, At::Done { is_lost: true, .. }));
    assert_eq!(ledger.is_missing(), is_lost, "missing");
    for (place, row) in rows.iter().enumerate() {
        assert_eq!(ledger.offset_of(oracle.seq(place)), (place >= prefix).then_some(row.offset));
    }
    assert_eq!(ledger.offset_of(Seq::first_of(id(oracle.assignments + 1)).plus(prefix)), None, "of another assignment");
    assert_eq!(ledger.broken(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_ledger_agrees_with_a_naive_list_of_records(
        is_committed in any::<bool>(),
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let mut ledger = Ledger::new(id(0), Offset(5), is_committed);
        let mut oracle = Oracle {
            assignments: 0,
            rows: Vec::new(),
            position: 5,
            ceiling: None,
            cut: is_committed.then_some(5),
            committed: is_committed.then_some(5),
            leader_epoch: -1,
            settled: Settled::default(),
        };
        let mut settled = Settled::default();
        for step in &steps {
            carry_out(step, &mut ledger, &mut oracle);
            compare(&ledger, &oracle);
            if matches!(step, Step::Cut) {
                let taken = ledger.take_settled();
                settled.emitted += taken.emitted;
                settled.filtered += taken.filtered;
                settled.dead_lettered += taken.dead_lettered;
                settled.skipped += taken.skipped;
                prop_assert_eq!(settled, oracle.settled());
            }
        }
    }
}
