//! The clients and threads of a worker: how they are started, and started anew. It decides nothing.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use super::Event;
use super::Settings;
use super::chain::Chain;
use super::executor::Executors;
use super::shutdown::let_go;
use super::step_metrics::StepMetrics;
use crate::kafka::Consumer;
use crate::kafka::Lookup;
use crate::kafka::Producer;
use crate::kafka::limits::Batching;
use crate::kafka::limits::TopicLimits;
use crate::metrics::Metrics;
use crate::plugin::Instance;
use crate::plugin::Step;
use crate::record::AssignmentIds;

/// Everything by which a worker reaches the world.
pub(super) struct Io {
    /// The worker's number.
    pub(super) number: usize,
    pub(super) inbox: mpsc::Sender<Event>,
    pub(super) events: mpsc::Receiver<Event>,
    // Before the consumer: it holds a share of the client.
    pub(super) lookup: Lookup,
    /// Which of the workers that share an inbox, one after the other, this is: answers for one before it are of no use.
    pub(super) lookup_number: u32,
    pub(super) consumer: Consumer,
    pub(super) executors: Executors,
    /// `None` only while it is made anew.
    pub(super) producer: Option<Producer>,
    /// How often the producer was made anew: reports of an older one are of no use.
    pub(super) producer_number: u32,
    /// The first step, in the version that runs: how many records a call of it gets. Its deadlines are those of all.
    pub(super) first_step: Option<Step>,
}

/// Where the numbers of a worker's parts begin, so that nothing of what came before is taken for theirs, and why instances were made.
pub(super) struct First {
    pub(super) assignments: AssignmentIds,
    pub(super) producer: u32,
    pub(super) lookup: u32,
    pub(super) reason: &'static str,
}

impl Io {
    /// Starts everything. Nothing comes from `events` yet: the inbox's other end is still to be put there.
    pub(super) fn start(
        settings: &Settings,
        number: usize,
        instances: Vec<Vec<(Step, Instance)>>,
        metrics: &Arc<Metrics>,
        inbox: mpsc::Sender<Event>,
        first: &First,
    ) -> Result<Io, String> {
        let first_step = first_step(&instances);
        let chains = chains(settings, instances, metrics, first.reason);
        let executors = start_executors(settings, chains, number, &inbox)?;
        let consumer = Consumer::new(&settings.kafka, number)?;
        let answer = {
            let inbox = inbox.clone();
            let lookup = first.lookup;
            move |question, answer| drop(inbox.send(Event::Answer { lookup, question, answer }))
        };
        let lookup = Lookup::start(&consumer, &settings.kafka, number, answer)
            .map_err(|error| format!("failed to start the lookup thread: {error}"))?;
        // The topics' own limits come with the first answer.
        let limits = unlimited(settings);
        let producer = Some(start_producer(settings, number, first.producer, &limits, Batching::Full, &inbox)?);
        let (lookup_number, producer_number) = (first.lookup, first.producer);
        let (_, events) = mpsc::channel();
        Ok(Io {
            number,
            inbox,
            events,
            lookup,
            lookup_number,
            consumer,
            executors,
            producer,
            producer_number,
            first_step,
        })
    }

    /// Throws the producer away with all that it has.
    pub(super) fn drop_producer(&mut self) {
        if let Some(old) = self.producer.take() {
            old.abandon();
            // Destroying a client can take a while, and nobody waits for it.
            let_go(old, Duration::ZERO);
        }
        self.producer_number += 1;
    }

    /// Starts the next producer.
    pub(super) fn start_producer(
        &mut self,
        settings: &Settings,
        limits: &TopicLimits,
        batching: Batching,
    ) -> Result<(), String> {
        let producer = start_producer(settings, self.number, self.producer_number, limits, batching, &self.inbox)?;
        self.producer = Some(producer);
        Ok(())
    }
}

/// The first step; all executors have the same ones.
pub(super) fn first_step(instances: &[Vec<(Step, Instance)>]) -> Option<Step> {
    instances.iter().flatten().map(|(step, _)| step.clone()).next()
}

/// The steps of each executor, with their metrics.
pub(super) fn chains(
    settings: &Settings,
    instances: Vec<Vec<(Step, Instance)>>,
    metrics: &Arc<Metrics>,
    reason: &'static str,
) -> Vec<Chain> {
    let chain = |steps: Vec<(Step, Instance)>| {
        let links = steps.into_iter().map(|(step, instance)| {
            let mut meter = StepMetrics::new(metrics, &step.settings().name);
            meter.started(reason, instance.memory_bytes());
            (step, instance, meter)
        });
        Chain::new(links.collect(), settings.routes.clone(), settings.policy.continues())
    };
    instances.into_iter().map(chain).collect()
}

pub(super) fn start_executors(
    settings: &Settings,
    chains: Vec<Chain>,
    worker: usize,
    inbox: &mpsc::Sender<Event>,
) -> Result<Executors, String> {
    let inbox = inbox.clone();
    // The worker is gone only when the process ends.
    let ran = move |ran| drop(inbox.send(Event::Ran(ran)));
    Executors::start(chains, &settings.routes, worker, &ran)
        .map_err(|error| format!("failed to start an executor: {error}"))
}

pub(super) fn start_producer(
    settings: &Settings,
    worker: usize,
    number: u32,
    limits: &TopicLimits,
    batching: Batching,
    inbox: &mpsc::Sender<Event>,
) -> Result<Producer, String> {
    let inbox = inbox.clone();
    // The queue may hold the outputs of everything in flight, and those of records that become many.
    let queue_bytes = settings.max_in_flight_bytes.saturating_mul(2);
    Producer::start(&settings.kafka, worker, queue_bytes, limits, batching, move |report| {
        drop(inbox.send(Event::Report { producer: number, report }));
    })
}

/// What is known of the topics that are written before anyone was asked.
pub(super) fn unlimited(settings: &Settings) -> TopicLimits {
    TopicLimits { bytes: vec![None; settings.kafka.written().count()], ..TopicLimits::default() }
}
