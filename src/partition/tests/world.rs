//! The world around a partition: the log it is read from, its executor, its broker, and the oracle.
//!
//! The oracle is a list of records with what really happened to each: which of its outputs the broker has, and whether it was
//! processed. It knows nothing of assignments, runs, ledgers or strands. At every `Store` it checks that every record below the
//! offset is really settled. The breaker has a small window here, and the oracle counts the outcomes itself: a record that breaks
//! the plugin is dead-lettered or skipped exactly when the breaker allows it.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::time::Instant;

use super::ALLOWED;
use super::RETRIES;
use super::WINDOW;
use super::state;
use crate::failure::Kind;
use crate::partition::Action;
use crate::partition::Event;
use crate::partition::OnFailure;
use crate::partition::PartitionState;
use crate::record::AssignmentId;
use crate::record::AssignmentIds;
use crate::record::Offset;
use crate::record::Seq;
use crate::record::Seqs;

/// A record of the log: its offset, and its number of outputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logged {
    pub(super) offset: i64,
    pub(super) outputs: u32,
    pub(super) strand: u16,
}

/// Records that were handed out and not returned yet.
#[derive(Clone, Debug)]
pub(super) struct Out {
    pub(super) strand: u16,
    pub(super) run: u32,
    /// Numbers and indices in the log.
    pub(super) records: VecDeque<(Seq, usize)>,
}

impl Out {
    /// Whether it belongs to this assignment.
    pub(super) fn is_of(&self, assignment: AssignmentId) -> bool {
        self.records.front().is_some_and(|(seq, _)| seq.assignment() == assignment)
    }
}

/// Records' numbers, of which there is at least one.
pub(super) fn seqs<'n>(numbers: &'n [u64], of: &VecDeque<(Seq, usize)>) -> Seqs<'n> {
    Seqs::listed(of[0].0.assignment(), numbers).unwrap()
}

/// The positions of records within their assignment.
pub(super) fn numbers(of: &VecDeque<(Seq, usize)>) -> Vec<u64> {
    of.iter().map(|(seq, _)| seq.n()).collect()
}

/// An output in flight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sent {
    pub(super) seq: Seq,
    pub(super) record: usize,
    pub(super) index: Part,
}

/// The kind of an output in flight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Part {
    /// The output of this number.
    Output(u32),
    DeadLetter,
}

pub(super) struct World {
    pub(super) then: OnFailure,
    /// The number of strands.
    pub(super) strands: u16,
    pub(super) log: Vec<Logged>,
    pub(super) state: PartitionState,
    pub(super) ids: AssignmentIds,
    pub(super) now: Instant,
    /// The index in the log of the next record to be fetched.
    pub(super) next: usize,
    /// Waiting records, in order: number and index in the log.
    pub(super) queue: VecDeque<(Seq, usize)>,
    pub(super) out: VecDeque<Out>,
    pub(super) sent: Vec<Sent>,
    /// How many numbers were assigned in this assignment.
    pub(super) given: usize,
    /// Whether outputs count only once they are committed, with the offset.
    pub(super) once: bool,
    /// The offset that was stored last: the oracle's own copy. At least once it is committed at once.
    pub(super) committed: Offset,
    /// Where the group stands, and the breaker's counts there.
    pub(super) group: (Offset, String),
    /// The outputs of each record that the broker has.
    pub(super) delivered: Vec<BTreeSet<u32>>,
    /// Whether each record was processed.
    pub(super) handled: Vec<bool>,
    /// The order in which records were first sent.
    pub(super) first_sent: Vec<usize>,
    /// Whether each record was skipped, or its dead letter is at the broker.
    pub(super) given_up: Vec<bool>,
    /// The records that were handed out in this assignment.
    pub(super) given_out: BTreeSet<usize>,
    /// The records that were dead-lettered in this assignment.
    pub(super) letters: Vec<usize>,
    /// Each counted record and whether it broke the plugin, in the order of their first outcomes in this process or before its
    /// committed offset.
    pub(super) outcomes: Vec<(usize, bool)>,
    /// The breaker's counts that are committed with the offset.
    pub(super) counts: String,
    /// The records that had an output refused by the broker.
    pub(super) refused: BTreeSet<usize>,
    /// The record at which it stopped.
    pub(super) stopped: Option<i64>,
}

impl World {
    /// A partition of one strand.
    pub(super) fn new(then: OnFailure, outputs: &[u32], gaps: &[bool]) -> World {
        World::of_strands(then, outputs, gaps, 1, &vec![0; outputs.len()])
    }

    /// A partition of several strands; `keys` decides in which of them a record is.
    pub(super) fn of_strands(then: OnFailure, outputs: &[u32], gaps: &[bool], strands: u16, keys: &[u16]) -> World {
        let mut offset = 3;
        let log: Vec<Logged> = outputs
            .iter()
            .zip(gaps)
            .zip(keys)
            .map(|((&outputs, &gap), key)| {
                offset += if gap { 3 } else { 1 };
                Logged { offset, outputs, strand: key % strands }
            })
            .collect();
        #[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
        let now = Instant::now();
        let start = Offset(3);
        let mut ids = AssignmentIds::default();
        World {
            then,
            strands,
            state: state(then, ids.issue(|_| false), start, true, strands),
            ids,
            now,
            next: 0,
            queue: VecDeque::new(),
            out: VecDeque::new(),
            sent: Vec::new(),
            given: 0,
            once: false,
            committed: start,
            group: (start, String::new()),
            delivered: vec![BTreeSet::new(); log.len()],
            handled: vec![false; log.len()],
            first_sent: Vec::new(),
            given_up: vec![false; log.len()],
            given_out: BTreeSet::new(),
            letters: Vec::new(),
            outcomes: Vec::new(),
            counts: String::new(),
            refused: BTreeSet::new(),
            stopped: None,
            log,
        }
    }

    pub(super) fn is_settled(&self, record: usize) -> bool {
        if self.given_up[record] {
            return true;
        }
        match self.log[record].outputs {
            0 => self.handled[record],
            outputs => self.delivered[record].len() == outputs as usize,
        }
    }

    /// Gives the state an event; `returned` are the records that are returned with it. `true` if a drain ended.
    pub(super) fn tell(&mut self, event: Event<'_>, returned: &[(Seq, usize)]) -> bool {
        let mut released = false;
        let is_late = event.assignment().is_some_and(|assignment| assignment != self.state.assignment());
        let before = is_late.then(|| format!("{:?}", self.state));
        let actions: Vec<Action> = self.state.handle(self.now, event).collect();
        assert!(
            before.is_none_or(|before| actions.is_empty() && before == format!("{:?}", self.state)),
            "what carries another number changed something: {actions:?}"
        );
        let given_up: Vec<(Seq, bool)> = actions
            .iter()
            .filter_map(|action| {
                let (Action::DeadLetter { seq, failure, .. } | Action::Skip { seq, failure, .. }) = action else {
                    return None;
                };
                Some((*seq, failure.kind == Kind::Trap))
            })
            .collect();
        // Dead letters precede the outputs of the same run, except that of its last record.
        let turn = |seq: Seq, upto: Option<Seq>| upto.is_none_or(|upto| seq >= upto);
        let upto = actions.iter().find_map(|action| {
            let Action::Send { upto } = action else { return None };
            Some(*upto)
        });
        for &(seq, record) in returned {
            let fate = given_up.iter().find(|(other, _)| *other == seq);
            if fate.is_some() || upto.is_some_and(|upto| seq < upto) {
                self.count(record, fate.is_some_and(|(_, is_fault)| *is_fault));
                assert!(
                    self.strands > 1 || self.faults() <= ALLOWED,
                    "the breaker did not trip at {:?}",
                    self.outcomes
                );
            }
        }
        for action in actions {
            match action {
                Action::Send { upto } => {
                    for &(seq, record) in returned.iter().filter(|&&(seq, _)| seq < upto) {
                        self.take_turn(record);
                        if given_up.iter().any(|(other, _)| *other == seq) {
                            continue;
                        }
                        self.handled[record] = true;
                        let offset = self.log[record].offset;
                        assert!(self.stopped.is_none_or(|at| offset < at), "{offset} was sent after the stop");
                        self.sent.extend((0..self.log[record].outputs).map(|index| Sent {
                            seq,
                            record,
                            index: Part::Output(index),
                        }));
                        assert!(
                            !self.refused.contains(&record),
                            "{offset} was sent again though the broker had refused it"
                        );
                    }
                }
                Action::DeadLetter { seq, .. } => {
                    assert_eq!(self.then, OnFailure::DeadLetter);
                    let record = self.give_up(seq, returned);
                    if turn(seq, upto) {
                        self.take_turn(record);
                    }
                    assert!(self.is_in_order(record, &self.letters), "dead letters are out of order");
                    self.letters.push(record);
                    self.sent.push(Sent { seq, record, index: Part::DeadLetter });
                }
                Action::Skip { seq, .. } => {
                    assert_eq!(self.then, OnFailure::Skip);
                    let record = self.give_up(seq, returned);
                    if turn(seq, upto) {
                        self.take_turn(record);
                    }
                    self.given_up[record] = true;
                }
                Action::BreakerTripped { offset, .. } => {
                    assert_ne!(self.then, OnFailure::Stop);
                    let record = self.log.iter().position(|logged| logged.offset == offset).unwrap();
                    self.count(record, true);
                    assert!(self.faults() > ALLOWED, "the breaker tripped at {:?}", self.outcomes);
                    assert!(self.stopped.is_none(), "it stopped twice");
                    self.stopped = Some(offset);
                }
                Action::RunAgain { from, attempt, at } => {
                    assert!(at > self.now, "a retry waits");
                    assert!(attempt <= RETRIES, "a record was tried more often than the policy allows");
                    let strand = self.strand_of(from, returned);
                    assert!(
                        !self.state.may_dispatch(self.now, strand, from),
                        "records behind a waiting one may not pass it"
                    );
                    self.requeue(from, returned);
                }
                Action::Requeue { from } => self.requeue(from, returned),
                Action::Store { offset, counts, .. } => {
                    self.counts = counts;
                    assert!(offset > self.committed || self.committed == Offset(3), "the stored offset went back");
                    for (record, logged) in self.log.iter().enumerate().filter(|(_, logged)| logged.offset < offset.0) {
                        assert!(self.is_settled(record), "{offset} was stored, but {} is not settled", logged.offset);
                    }
                    if let Some(stopped) = self.stopped {
                        assert!(offset.0 <= stopped, "{offset} was stored, above the record {stopped} that stopped it");
                    }
                    self.committed = self.committed.max(offset);
                    if !self.once {
                        self.group = (self.committed, self.counts.clone());
                    }
                }
                Action::Stop { offset, .. } | Action::Hold { offset, .. } => {
                    assert!(self.stopped.is_none_or(|at| self.strands > 1 && offset < at), "it stopped twice");
                    self.stopped = Some(offset);
                }
                Action::DropQueue { from: None } => self.queue.clear(),
                Action::DropQueue { from: Some(from) } => {
                    let is_one = self.strands == 1;
                    self.queue.retain(|(seq, _)| !is_one && *seq < from);
                }
                Action::Rewind => {
                    let is_ours = |sent: &Sent| {
                        let is_above = self.stopped.is_some_and(|stopped| self.log[sent.record].offset >= stopped);
                        sent.seq.assignment() == self.state.assignment() && !is_above
                    };
                    assert!(!self.sent.iter().any(is_ours), "what is on its way is sent again");
                    released |= self.rewind();
                }
                Action::Seek { offset } => {
                    self.next = self.log.iter().position(|logged| logged.offset >= offset.0).unwrap_or(self.log.len());
                    self.given = 0;
                    self.letters.clear();
                    self.given_out.clear();
                }
                Action::Released { settled } => {
                    released = true;
                    // What waits for a retry isn't waited for, nor is what was sent behind it.
                    let is_retried = self.state.strands.iter().any(|strand| strand.retried().is_some());
                    if settled && self.stopped.is_none() {
                        let assignment = self.state.assignment();
                        assert!(
                            self.out.iter().all(|out| !out.is_of(assignment)),
                            "released with records at an executor"
                        );
                    }
                    if settled && self.stopped.is_none() && !is_retried {
                        let is_low = |&record: &usize| self.log[record].offset < self.state.low().0;
                        assert!(
                            self.strands == 1 || self.given_out.iter().all(is_low),
                            "released with a gap below what was handed out"
                        );
                        assert!(
                            self.sent.iter().all(|sent| sent.seq.assignment() != self.state.assignment()),
                            "released with outputs under way"
                        );
                    }
                }
            }
        }
        released
    }

    /// Commits the transaction, if every record with an output in it is below the stored offset.
    pub(super) fn commit(&mut self) {
        let is_within = |record: usize| {
            let is_in_it = !self.delivered[record].is_empty() || self.given_up[record];
            !is_in_it || self.log[record].offset < self.committed.0
        };
        if self.sent.is_empty() && (0..self.log.len()).all(is_within) {
            self.group = (self.committed, self.counts.clone());
            self.tell(Event::Committed { offset: self.committed }, &[]);
        }
    }

    /// The open transaction is aborted: nothing in it is delivered.
    pub(super) fn abort_transaction(&mut self) {
        self.committed = self.group.0;
        self.counts = self.group.1.clone();
        self.sent.clear();
        for (record, logged) in self.log.iter().enumerate().filter(|(_, logged)| logged.offset >= self.group.0.0) {
            assert!(logged.offset >= self.committed.0);
            self.delivered[record].clear();
            self.handled[record] = false;
            self.given_up[record] = false;
        }
    }

    /// Reads the partition again. `true` if this ended a drain.
    pub(super) fn rewind(&mut self) -> bool {
        let assignment = self.ids.issue(|_| false);
        self.tell(Event::Rewind { assignment }, &[])
    }

    pub(super) fn take_turn(&mut self, record: usize) {
        if !self.first_sent.contains(&record) {
            self.first_sent.push(record);
        }
    }

    /// Checks that a record may be dead-lettered or skipped; returns its index in the log.
    pub(super) fn give_up(&self, seq: Seq, about: &[(Seq, usize)]) -> usize {
        let record = about.iter().find(|(other, _)| *other == seq).expect("the record is at hand").1;
        let offset = self.log[record].offset;
        assert!(self.stopped.is_none_or(|at| offset < at), "{offset} was given up after the stop");
        record
    }

    /// Counts a record's outcome. A record that was counted before in this process counts once.
    pub(super) fn count(&mut self, record: usize, is_fault: bool) {
        if self.outcomes.last().is_none_or(|&(last, _)| last < record) {
            self.outcomes.push((record, is_fault));
        }
    }

    pub(super) fn faults(&self) -> usize {
        self.outcomes.iter().rev().take(WINDOW).filter(|(_, is_fault)| *is_fault).count()
    }

    fn strand_of(&self, seq: Seq, about: &[(Seq, usize)]) -> u16 {
        about.iter().find(|(other, _)| *other == seq).map_or(0, |&(_, record)| self.log[record].strand)
    }

    /// Whether no later record of the same strand is among these.
    pub(super) fn is_in_order(&self, record: usize, among: &[usize]) -> bool {
        let strand = self.log[record].strand;
        !among.iter().any(|&other| other >= record && self.log[other].strand == strand)
    }

    pub(super) fn requeue(&mut self, from: Seq, returned: &[(Seq, usize)]) {
        let is_back = |&&(seq, _): &&(Seq, usize)| seq >= from && self.state.takes_back(seq);
        let back: Vec<(Seq, usize)> = returned.iter().filter(is_back).copied().collect();
        self.queue.extend(back);
        self.queue.make_contiguous().sort_unstable();
    }
}
