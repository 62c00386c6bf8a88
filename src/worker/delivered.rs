//! Handles the producer's reports: acknowledgements and errors.

use std::time::Instant;

use super::Shell;
use super::blocked;
use crate::failpoint;
use crate::failpoint::Point;
use crate::kafka::connection;
use crate::kafka::producer::Delivered;
use crate::kafka::producer::ProducerReport;
use crate::kafka::producer::Run;
use crate::kafka::producer::TagKind;
use crate::partition;

impl Shell {
    /// Handles a report of the current producer.
    pub(super) fn on_report(&mut self, now: Instant, report: ProducerReport) {
        match report {
            ProducerReport::Delivered => {
                let Some(producer) = &self.io.producer else { return };
                let delivered = producer.take_delivered();
                if delivered.is_empty() {
                    // These were taken with an earlier report.
                    return;
                }
                let Delivered { runs, has_sample, produced, bytes } = delivered;
                self.flow.bytes_out = self.flow.bytes_out.saturating_sub(bytes);
                self.monitor.status.acknowledged();
                self.delivery.acknowledged(now);
                self.monitor.count_produced(&self.settings.kafka.outputs, &produced);
                self.count_named(&produced);
                if has_sample {
                    self.tell_blocked(now, blocked::Event::Taken);
                }
                for Run { kind, first, last } in runs {
                    let Some(index) = self.flow.task_of(first) else {
                        self.on_windows_delivered(kind, first, last);
                        continue;
                    };
                    match kind {
                        TagKind::Output(_) => self.tell(now, index, partition::Event::Delivered { first, last }),
                        TagKind::DeadLetter => self.on_dead_letters_delivered(now, index, first, last),
                    }
                }
                failpoint::pass(Point::AfterAck);
            }
            ProducerReport::Failed { batch, sample } => self.on_undelivered(now, batch, sample),
            ProducerReport::Purged => {
                if let Some(producer) = &self.io.producer {
                    producer.check_transaction();
                }
            }
            ProducerReport::Transaction(report) => self.on_transaction(now, report),
            ProducerReport::Fatal { reason } => self.recover_producer(now, &reason),
            ProducerReport::Error { name, text } => {
                self.monitor.metrics.kafka_errors.with_label_values(&[&name]).inc();
                if let Some(trouble) = connection::trouble(&text, self.settings.kafka.tokens().is_some()) {
                    self.on_trouble(now, &trouble);
                } else if connection::is_duplicate(&text) || connection::is_consequence(&text) {
                    // Logged elsewhere with its reason.
                } else if self.monitor.may_log(now, &name) {
                    tracing::warn!("Kafka: {text} ({name})");
                }
            }
        }
    }
}
