//! PURE. Revoked partitions: they are drained, committed and given back.

use std::time::Instant;

use super::Action;
use super::Session;
use super::Stage;
use super::Stay;
use super::Step;
use crate::record::TopicPartition;

impl Session {
    pub(super) fn revoked(
        &mut self,
        now: Instant,
        partitions: Vec<TopicPartition>,
        is_lost: bool,
        actions: &mut Vec<Action>,
    ) {
        let is_leaving = self.ending.as_ref().is_some_and(|ending| ending.step > Step::Committing);
        if is_lost || is_leaving || partitions.is_empty() {
            return self.give_back(partitions, actions);
        }
        let deadline = now + self.settings.drain_timeout;
        let going = self.drain(&partitions);
        self.stage = Stage::Revoking { partitions, deadline, is_committing: false };
        actions.push(Action::Drain { partitions: going, deadline });
    }

    /// Starts draining those of these partitions that run. Returns the ones that drain now.
    pub(super) fn drain(&mut self, partitions: &[TopicPartition]) -> Vec<TopicPartition> {
        let mut going = Vec::new();
        for partition in partitions {
            if let Some(stay @ (Stay::Running | Stay::Draining)) = self.partitions.get_mut(partition) {
                *stay = Stay::Draining;
                going.push(partition.clone());
            }
        }
        going
    }

    /// Ends the drain of these partitions.
    pub(super) fn release(&mut self, partitions: Vec<TopicPartition>, actions: &mut Vec<Action>) {
        if !partitions.is_empty() {
            self.partitions.extend(partitions.iter().map(|partition| (partition.clone(), Stay::Released)));
            actions.push(Action::Release(partitions));
        }
    }

    /// The ones of these partitions whose drain isn't over.
    pub(super) fn out<'a>(&self, partitions: impl Iterator<Item = &'a TopicPartition>) -> Vec<TopicPartition> {
        let is_out = |partition: &&TopicPartition| {
            matches!(self.partitions.get(*partition), Some(Stay::Running | Stay::Draining))
        };
        partitions.filter(is_out).cloned().collect()
    }

    pub(super) fn go_on_revoking(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Stage::Revoking { partitions, deadline, is_committing } = &self.stage else { return };
        let (is_late, is_committing) = (now >= *deadline, *is_committing);
        if is_committing {
            if self.cycle.is_under_way() && !is_late {
                return;
            }
        } else {
            let out = self.out(partitions.iter());
            if !out.is_empty() && !is_late {
                return;
            }
            self.release(out, actions);
            let begins = self.cycle.begin(now);
            if let Stage::Revoking { deadline, is_committing, .. } = &mut self.stage
                && begins
            {
                // The commit gets as much time as the drain.
                (*deadline, *is_committing) = (now + self.settings.drain_timeout, true);
                actions.push(Action::Commit);
            }
            if begins || !is_late {
                return;
            }
        }
        if let Stage::Revoking { partitions, .. } = std::mem::replace(&mut self.stage, Stage::Member) {
            self.give_back(partitions, actions);
        }
    }

    /// Gives partitions back, which answers the rebalance that revokes them.
    pub(super) fn give_back(&mut self, partitions: Vec<TopicPartition>, actions: &mut Vec<Action>) {
        let started = self.remove(&partitions);
        if !self.is_joining() {
            self.stage = Stage::Member;
        }
        actions.push(Action::GiveBack(started));
        self.joined(actions);
    }

    /// Forgets partitions. Returns those that had started: the client refuses to give back partitions that it was not told to
    /// read.
    pub(super) fn remove(&mut self, partitions: &[TopicPartition]) -> Vec<TopicPartition> {
        let started = |partition: &&TopicPartition| {
            matches!(self.partitions.remove(*partition), Some(Stay::Running | Stay::Draining | Stay::Released))
        };
        partitions.iter().filter(started).cloned().collect()
    }
}
