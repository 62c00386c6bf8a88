//! The clients and threads of a worker, and how they are started and replaced. It decides nothing.

use std::sync::Arc;
use std::sync::Weak;
use std::sync::mpsc;
use std::time::Duration;

use super::Event;
use super::Settings;
use super::chain::Chain;
use super::executor::Executors;
use super::first_instances::FirstInstances;
use super::first_instances::UsedExecutors;
use super::mailbox::Mailbox;
use super::shutdown::let_go;
use super::step_metrics::StepMetrics;
use crate::kafka::Consumer;
use crate::kafka::Lookup;
use crate::kafka::Producer;
use crate::kafka::limits::Batching;
use crate::kafka::limits::TopicLimits;
use crate::kafka::settings::Guarantee;
use crate::metrics::Metrics;
use crate::plugin::Instance;
use crate::plugin::Step;
use crate::record::AssignmentIds;
use crate::trace::Tracer;

/// A worker's clients, threads and channels.
pub(super) struct Io {
    /// The worker's number.
    pub(super) number: usize,
    pub(super) mailbox: Mailbox,
    pub(super) events: mpsc::Receiver<Event>,
    // Declared before the consumer, so that it is dropped first: it shares the consumer's client.
    pub(super) lookup: Lookup,
    /// Which of the workers that use this inbox in turn this is: answers to an earlier one are ignored.
    pub(super) lookup_number: u32,
    pub(super) consumer: Consumer,
    pub(super) executors: Executors,
    /// `None` only while it is being replaced.
    pub(super) producer: Option<Producer>,
    /// Alive until the producer before this one is destroyed.
    destroying: Weak<()>,
    /// How often the producer was replaced: reports of an older one are ignored.
    pub(super) producer_number: u32,
    /// The first step in the version that runs: its batch size, and the ticker that counts all steps' deadlines.
    pub(super) first_step: Option<Step>,
}

/// Why a worker was made that takes over from another one.
pub(super) const RELOAD: &str = "reload";

/// The first numbers of a worker's parts, so that late results of the worker before are not taken for its own, and why instances
/// were made.
pub(super) struct First {
    pub(super) assignments: AssignmentIds,
    pub(super) producer: u32,
    pub(super) lookup: u32,
    pub(super) reason: &'static str,
}

impl Io {
    /// Starts everything. The caller must then set `events` to the inbox's receiver.
    pub(super) fn start(
        settings: &Settings,
        number: usize,
        instances: FirstInstances,
        metrics: &Arc<Metrics>,
        mailbox: Mailbox,
        first: &First,
    ) -> Result<Io, String> {
        let first_step = first_step(&instances);
        let FirstInstances { of_executors, used } = instances;
        let chains = chains(settings, of_executors, metrics, first.reason);
        let executors = start_executors(settings, chains, used, number, &mailbox)?;
        let consumer = Consumer::new(&settings.kafka, number)?;
        let answer = {
            let mailbox = mailbox.clone();
            let lookup = first.lookup;
            move |question, answer| mailbox.send(Event::Answer { lookup, question, answer })
        };
        let lookup = Lookup::start(&consumer, &settings.kafka, number, answer)
            .map_err(|error| format!("failed to start the lookup thread: {error}"))?;
        // The topics' limits arrive with the first answer.
        let limits = unlimited(settings);
        // A worker that takes over must not end the transaction of the one that it replaces.
        let waits = first.reason == RELOAD && settings.kafka.delivery != Guarantee::AtLeastOnce;
        let producer = (!waits)
            .then(|| start_producer(settings, number, first.producer, &limits, Batching::Full, &mailbox))
            .transpose()?;
        let (lookup_number, producer_number) = (first.lookup, first.producer);
        let (_, events) = mpsc::channel();
        Ok(Io {
            number,
            mailbox,
            events,
            lookup,
            lookup_number,
            consumer,
            executors,
            producer,
            destroying: Weak::new(),
            producer_number,
            first_step,
        })
    }

    /// Discards the producer with every output it has.
    pub(super) fn drop_producer(&mut self) {
        if let Some(old) = self.producer.take() {
            old.abandon();
            // Destroying a client can take a while. The token is dropped after it.
            let token = Arc::new(());
            self.destroying = Arc::downgrade(&token);
            let_go((old, token), Duration::ZERO);
        }
        self.producer_number += 1;
    }

    /// Whether no producer is being destroyed. One that still asks for its transactional id would take it from the next one.
    pub(super) fn is_clear(&self) -> bool {
        self.destroying.strong_count() == 0
    }

    /// Starts the next producer.
    pub(super) fn start_producer(
        &mut self,
        settings: &Settings,
        limits: &TopicLimits,
        batching: Batching,
    ) -> Result<(), String> {
        let producer = start_producer(settings, self.number, self.producer_number, limits, batching, &self.mailbox)?;
        self.producer = Some(producer);
        Ok(())
    }
}

/// The first step. All executors have the same steps.
pub(super) fn first_step(instances: &FirstInstances) -> Option<Step> {
    instances.of_executors.iter().flatten().map(|(step, _)| step.clone()).next()
}

/// The steps of each executor, with their metrics.
pub(super) fn chains(
    settings: &Settings,
    of_executors: Vec<Vec<(Step, Option<Instance>)>>,
    metrics: &Arc<Metrics>,
    reason: &'static str,
) -> Vec<Chain> {
    let chain = |steps: Vec<(Step, Option<Instance>)>| {
        let links = steps.into_iter().map(|(step, instance)| {
            let mut meter = StepMetrics::new(metrics, &step.settings().name, reason);
            if let Some(instance) = &instance {
                meter.instantiated(instance.memory_bytes());
            }
            (step, instance, meter)
        });
        let (windowed, routes, policy) = (settings.windowed.clone(), settings.routes.clone(), settings.policy.clone());
        Chain::new(links.collect(), windowed, routes, policy, metrics.taps.clone())
    };
    of_executors.into_iter().map(chain).collect()
}

pub(super) fn start_executors(
    settings: &Settings,
    chains: Vec<Chain>,
    used: UsedExecutors,
    worker: usize,
    mailbox: &Mailbox,
) -> Result<Executors, String> {
    let inbox = mailbox.inbox();
    // The inbox is closed only when the process ends.
    let returns = move |returned| drop(inbox.send(Event::Returned(returned)));
    let tracer = Tracer::of_pipeline(&settings.kafka.input.group);
    Executors::start((chains, used), &settings.routes, worker, tracer.as_ref(), settings.niceness, &returns)
        .map_err(|error| format!("failed to start an executor: {error}"))
}

pub(super) fn start_producer(
    settings: &Settings,
    worker: usize,
    number: u32,
    limits: &TopicLimits,
    batching: Batching,
    mailbox: &Mailbox,
) -> Result<Producer, String> {
    let inbox = mailbox.inbox();
    // The queue must hold the outputs of everything in flight, also when steps make several outputs of a record.
    let queue_bytes = settings.max_in_flight_bytes.saturating_mul(2);
    Producer::start(&settings.kafka, worker, queue_bytes, limits, batching, move |report| {
        drop(inbox.send(Event::Report { producer: number, report }));
    })
}

/// The limits before the first answer: all unknown.
pub(super) fn unlimited(settings: &Settings) -> TopicLimits {
    TopicLimits { bytes: vec![None; settings.kafka.written().count()], ..TopicLimits::default() }
}
