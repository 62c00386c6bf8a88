//! Delivery against a naive broker that refuses batches as a whole, over random schedules.

use proptest::prelude::*;

use super::*;
use crate::worker::clock;

fn partition() -> TopicPartition {
    TopicPartition { topic: "t".into(), partition: 0 }
}

fn limits(bytes: Option<usize>, led: usize) -> TopicLimits {
    TopicLimits { bytes: vec![bytes], partitions_led: led, ..TopicLimits::default() }
}

fn refusal(is_about_size: bool, bytes: usize) -> Option<BatchRefusal> {
    Some(BatchRefusal { reason: "no".to_owned(), is_about_size, bytes })
}

/// A step of a random schedule.
#[derive(Clone, Debug)]
enum Event {
    /// The topic's limit changes.
    Alter(usize),
    /// The next waiting records are handed out, in batches as large as allowed.
    Send {
        records: usize,
    },
    /// The broker answers the oldest batch.
    Answer,
    /// The topic's limit is reported.
    Tell,
    Tick,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => (1..40_usize).prop_map(|kb| Event::Alter(kb * 1000)),
        6 => (1..40_usize).prop_map(|records| Event::Send { records }),
        6 => Just(Event::Answer),
        1 => Just(Event::Tell),
        6 => Just(Event::Tick),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Records of one partition with random sizes, and a broker that refuses a batch above its limit as too large, and one with a
    /// bad record for another reason, without naming the record. The harness resends as the verdicts say. In the end, when the
    /// limit stays the same, every record has its own verdict: those that fit are delivered, in order, and those that are bad or
    /// too large are refused alone.
    #[test]
    fn every_record_has_its_own_verdict_in_the_end(
        sizes in prop::collection::vec((100_usize..12_000, prop::bool::weighted(0.05)), 1..60),
        events in prop::collection::vec((event(), 0_u64..3000), 0..80),
    ) {
        let mut world = World::new(sizes);
        for (event, ms) in events {
            world.now += Duration::from_millis(ms);
            world.step(&event)?;
        }
        for _ in 0..3000 {
            world.now += Duration::from_millis(1000);
            for event in [Event::Tick, Event::Send { records: 100 }, Event::Answer, Event::Tell] {
                world.step(&event)?;
            }
            if world.is_done() {
                return Ok(());
            }
        }
        prop_assert!(false, "records wait for ever: {:?}", world.settled);
    }
}

struct World {
    now: Instant,
    delivery: Delivery,
    limit: usize,
    /// The size of each record, and whether the broker refuses it whatever its size.
    records: Vec<(usize, bool)>,
    /// The outcome of each record below the next one: `true` if it was delivered.
    settled: Vec<bool>,
    /// Batches without an answer, as ranges of records.
    out: Vec<std::ops::Range<usize>>,
    next: usize,
    batching: Batching,
    batch_bytes: usize,
}

impl World {
    fn new(records: Vec<(usize, bool)>) -> World {
        let now = clock::now();
        let delivery = Delivery::new(now, limits(None, 0), false);
        let (batching, batch_bytes) = (delivery.batching(), delivery.limits().batch_bytes());
        let (settled, out) = (Vec::new(), Vec::new());
        World { now, delivery, limit: 20_000, records, settled, out, next: 0, batching, batch_bytes }
    }

    fn is_done(&self) -> bool {
        self.settled.len() == self.records.len()
    }

    fn make_producer(&mut self) {
        (self.batching, self.batch_bytes) = (self.delivery.batching(), self.delivery.limits().batch_bytes());
        self.delivery.renewed();
    }

    fn rewind(&mut self) {
        self.out.clear();
        self.next = self.settled.len();
        self.make_producer();
    }

    fn step(&mut self, event: &Event) -> Result<(), TestCaseError> {
        match event {
            Event::Alter(limit) => self.limit = *limit,
            Event::Tell => {
                self.delivery.answered(self.now);
                self.delivery.learn(self.now, 1, limits(Some(self.limit), 1));
            }
            Event::Send { records } => self.send(*records),
            Event::Answer => self.answer()?,
            Event::Tick => {
                let low = Offset(i64::try_from(self.settled.len()).unwrap());
                let is_quiet = self.out.is_empty();
                match self.delivery.tick(self.now, |_| Some(low), || Traffic { is_quiet, is_going: false }) {
                    Some(Renewal::Replace) => {
                        prop_assert!(is_quiet, "a producer is thrown away with what it has");
                        self.make_producer();
                    }
                    Some(Renewal::Rewind) => self.rewind(),
                    None => {}
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, most: usize) {
        if self.delivery.holds(self.now) {
            return;
        }
        let end = (self.next + most).min(self.records.len());
        while self.next < end {
            let offset = i64::try_from(self.next).unwrap();
            if !self.delivery.takes(&partition(), offset, false, || false) {
                return;
            }
            let mut batch = self.next..self.next + 1;
            let fits = |range: &std::ops::Range<usize>, more: usize| {
                self.records[range.clone()].iter().map(|(bytes, _)| bytes).sum::<usize>() + more <= self.batch_bytes
            };
            while self.batching == Batching::Full && batch.end < end && fits(&batch, self.records[batch.end].0) {
                batch.end += 1;
            }
            self.next = batch.end;
            self.out.push(batch);
        }
    }

    fn answer(&mut self) -> Result<(), TestCaseError> {
        if self.out.is_empty() {
            return Ok(());
        }
        let batch = self.out.remove(0);
        let bytes: usize = self.records[batch.clone()].iter().map(|(bytes, _)| bytes).sum();
        let (is_large, is_bad) = (bytes > self.limit, self.records[batch.clone()].iter().any(|(_, bad)| *bad));
        prop_assert_eq!(batch.start, self.settled.len(), "out of order");
        if !is_large && !is_bad {
            self.settled.extend(batch.map(|_| true));
            self.delivery.acknowledged(self.now);
            return Ok(());
        }
        let is_full = self.batching == Batching::Full;
        let mut undone = Undone { is_spent: is_full, ..Undone::default() };
        if batch.len() == 1 {
            // The verdict is about this record.
            self.settled.push(false);
            if is_large && self.next > batch.end {
                undone.beside_large.add(&partition(), i64::try_from(self.next - 1).unwrap());
            }
        } else {
            undone.refused = refusal(is_large, bytes);
            batch.for_each(|record| undone.together.add(&partition(), i64::try_from(record).unwrap()));
        }
        match self.delivery.judge(undone) {
            Verdict::Nothing => prop_assert!(!is_full),
            Verdict::Smaller { .. } => {
                prop_assert!(is_large, "batches become smaller for another reason than their size");
                self.rewind();
            }
            Verdict::Alone { .. } => {
                prop_assert!(!is_large);
                self.rewind();
                prop_assert_eq!(self.batching, Batching::Single);
            }
            Verdict::Again => self.rewind(),
            Verdict::Halt { .. } | Verdict::Recover { .. } => prop_assert!(false, "nobody said so"),
        }
        Ok(())
    }
}

#[test]
fn a_denied_topic_comes_before_a_failed_producer_and_that_before_a_refused_batch() {
    let mut delivery = Delivery::new(clock::now(), limits(None, 0), false);
    let mut undone = Undone { refused: refusal(false, 10), is_spent: true, ..Undone::default() };
    undone.failed = Some(("gone".to_owned(), partition(), 6));
    let recover = Verdict::Recover { why: "gone".to_owned(), partition: partition(), offset: 6 };
    assert_eq!(delivery.judge(undone.clone()), recover);
    undone.denied = Some(("denied".to_owned(), partition(), 7));
    let halt = Verdict::Halt { why: "denied".to_owned(), partition: partition(), offset: 7 };
    assert_eq!(delivery.judge(undone), halt);
    assert_eq!(delivery.batching(), Batching::Full, "nothing was said of a batch");
    assert_eq!(delivery.judge(Undone::default()), Verdict::Nothing);
}

#[test]
fn the_backoff_grows_until_an_output_is_acknowledged_after_it() {
    let start = clock::now();
    let mut delivery = Delivery::new(start, limits(None, 0), false);
    let waits: Vec<u128> = (0..9).map(|_| delivery.back_off(start).as_millis()).collect();
    assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    delivery.acknowledged(start + Duration::from_secs(9));
    assert!(delivery.holds(start + Duration::from_secs(9)), "it was on its way before");
    delivery.acknowledged(start + Duration::from_secs(10));
    assert_eq!(delivery.back_off(start).as_millis(), 100);
}

#[test]
fn a_producer_is_replaced_when_idle_or_after_ten_seconds_but_not_during_a_revoke() {
    let start = clock::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut delivery = Delivery::new(start, limits(None, 0), false);
    delivery.learn(start, 1, limits(Some(5000), 1));
    let tick = |delivery: &mut Delivery, seconds, is_quiet, is_going| {
        delivery.tick(at(seconds), |_| None, || Traffic { is_quiet, is_going })
    };
    assert!(delivery.holds(start));
    assert_eq!(tick(&mut delivery, 9, false, false), None);
    assert_eq!(tick(&mut delivery, 30, false, true), None);
    assert_eq!(tick(&mut delivery, 10, false, false), Some(Renewal::Rewind));
    assert_eq!(tick(&mut delivery, 1, true, true), Some(Renewal::Replace));
    delivery.renewed();
    assert!(!delivery.holds(start) && tick(&mut delivery, 99, true, false).is_none());
    // An unchanged limit needs no new producer, and neither does an answer about other topics.
    delivery.learn(start, 1, limits(Some(5000), 3));
    delivery.learn(start, 2, limits(Some(1), 3));
    assert!(!delivery.holds(start));
    assert_eq!(delivery.told(), 2);
}

#[test]
fn a_large_transaction_is_full_and_the_next_one_is_not() {
    let mut delivery = Delivery::new(clock::now(), TopicLimits::default(), true);
    delivery.change_transaction(Transaction::ready);
    delivery.change_transaction(Transaction::begun);
    assert!(!delivery.enter(TRANSACTION_MAX.records - 1, 0));
    assert!(delivery.enter(1, 0));
    delivery.committed();
    delivery.change_transaction(Transaction::begun);
    assert!(!delivery.enter(1, TRANSACTION_MAX.bytes - 1));
    assert!(delivery.enter(1, 1));
    delivery.change_transaction(|transaction| transaction.close(true));
    assert!(!delivery.enter(1, 1), "it ends already");
    assert!(!Delivery::new(clock::now(), TopicLimits::default(), false).enter(usize::MAX / 2, 0));
}
