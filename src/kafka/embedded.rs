//! The broker of `wasmill dev`: librdkafka's mock cluster, a producer that feeds it and a consumer that reads the
//! outputs.
//!
//! The mock is not a Kafka: it keeps 5 MiB of each partition and silently drops older records, its transactions do
//! nothing, and it writes nothing to disk. The feed must therefore not run far ahead of the readers. `wasmill run` uses
//! nothing of this file.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::mocking::MockCluster;

use super::classify::code;
use super::sys::Client;
use super::sys::Code;
use super::sys::Event;
use super::sys::EventKind;
use super::sys::PartitionList;
use super::sys::Queue;
use super::sys::Side;
use super::sys::Topic;
use crate::record::Header;
use crate::record::Headers;
use crate::record::OutRecord;

/// A mock broker with one node. It has its own thread because it can't move between threads.
pub struct Broker {
    bootstrap: String,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Broker {
    /// Starts a broker with these topics and numbers of partitions.
    ///
    /// # Errors
    /// If a topic can't be created, or no port or thread is available: a fragment.
    pub fn start(topics: &[(&str, i32)]) -> Result<Broker, String> {
        let topics: Vec<(String, i32)> =
            topics.iter().map(|&(name, partitions)| (name.to_owned(), partitions)).collect();
        let (ready, started) = mpsc::channel();
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("embedded-broker".into())
            .spawn(move || {
                let cluster = MockCluster::new(1).map_err(|error| error.to_string()).and_then(|cluster| {
                    for (name, partitions) in &topics {
                        let made = cluster.create_topic(name, *partitions, 1);
                        made.map_err(|error| format!("failed to create topic `{name}`: {error}"))?;
                    }
                    Ok(cluster)
                });
                match cluster {
                    Ok(cluster) => {
                        // `start` waits for this message, so sending can't fail.
                        let _ = ready.send(Ok(cluster.bootstrap_servers()));
                        // Returns when the `Broker` is dropped.
                        let _ = stopped.recv();
                    }
                    Err(reason) => drop(ready.send(Err(reason))),
                }
            })
            .map_err(|error| format!("failed to start the embedded broker's thread: {error}"))?;
        let bootstrap = started.recv().unwrap_or_else(|_| Err("the embedded broker's thread ended at once".into()))?;
        Ok(Broker { bootstrap, stop: Some(stop), thread: Some(thread) })
    }

    /// `host:port` of the broker.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Why [`Feeder::send`] didn't take a record.
#[derive(Debug, PartialEq, Eq)]
pub enum FeedError {
    /// Too many records are in flight: try again after a moment.
    Full,
    /// librdkafka's error message.
    Refused(String),
}

/// Writes records to one topic of the embedded broker.
pub struct Feeder {
    topic: Topic,
    queue: Queue,
    client: Arc<Client>,
}

impl Feeder {
    /// Connects to `bootstrap`.
    ///
    /// # Errors
    /// librdkafka's error message.
    pub fn new(bootstrap: &str, topic: &str) -> Result<Feeder, String> {
        let config = BTreeMap::from(
            [
                ("bootstrap.servers", bootstrap),
                ("client.id", "wasmill-dev-feed"),
                ("enable.idempotence", "true"),
                ("message.timeout.ms", "0"),
                ("partitioner", "murmur2_random"),
                ("linger.ms", "2"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        let client = Client::new(Side::Producer, &config, None)?;
        Ok(Feeder { topic: Topic::new(&client, topic, &BTreeMap::new())?, queue: client.queue(), client })
    }

    /// Queues a record. `timestamp` is in milliseconds since 1970-01-01 UTC; `None` means now.
    ///
    /// # Errors
    /// See [`FeedError`]; nothing was queued then.
    pub fn send(
        &self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
        timestamp: Option<i64>,
    ) -> Result<(), FeedError> {
        let mut lengths = Vec::with_capacity(headers.len() * 2);
        let mut data = Vec::new();
        for header in headers {
            let length = |bytes: &[u8]| i32::try_from(bytes.len()).unwrap_or(i32::MAX);
            lengths.extend([length(header.name), header.value.map_or(-1, length)]);
            data.extend_from_slice(header.name);
            data.extend_from_slice(header.value.unwrap_or_default());
        }
        let record = OutRecord {
            parent: 0,
            port: 0,
            topic: None,
            partition: None,
            timestamp: timestamp.unwrap_or(0),
            key,
            value,
            headers: Headers::new(&lengths, &data),
        };
        self.serve();
        self.topic.produce(&record, -1, 0).map_err(|code| match code {
            code::QUEUE_FULL => FeedError::Full,
            other => FeedError::Refused(other.to_string()),
        })
    }

    /// Waits until all records are acknowledged. `false` if the polls without a report add up to `timeout`.
    #[must_use]
    pub fn flush(&self, timeout: Duration) -> bool {
        // The polls measure the time, because this module has no clock.
        let mut quiet_ms = 0;
        while self.client.unreported() > 0 {
            match self.queue.poll(FLUSH_POLL_MS) {
                Some(event) => Self::look_at(event),
                None => quiet_ms += u128::from(FLUSH_POLL_MS.unsigned_abs()),
            }
            if quiet_ms >= timeout.as_millis() {
                return false;
            }
        }
        true
    }

    fn serve(&self) {
        while let Some(event) = self.queue.poll(0) {
            Self::look_at(event);
        }
    }

    fn look_at(mut event: Event) {
        while let Some(sent) = event.next_sent() {
            if sent.code() != Code::OK {
                tracing::error!("the embedded broker refused a record of the feed: {}", sent.code());
            }
        }
    }
}

const FLUSH_POLL_MS: i32 = 20;

/// A record read from an output topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailRecord {
    /// The output topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
    /// Milliseconds since 1970-01-01 UTC, or -1 if there is none.
    pub timestamp: i64,
    /// `None` is null.
    pub key: Option<Vec<u8>>,
    /// `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Names and values, in order.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// Reads all records written to some topics of the embedded broker.
pub struct Tail {
    records: Queue,
    events: Queue,
}

impl Tail {
    /// Reads these topics, each with its number of partitions, from the beginning.
    ///
    /// # Errors
    /// librdkafka's error message.
    pub fn new(bootstrap: &str, topics: &[(&str, i32)]) -> Result<Tail, String> {
        let config = BTreeMap::from(
            [
                ("bootstrap.servers", bootstrap),
                ("client.id", "wasmill-dev-tail"),
                ("group.id", "wasmill-dev-tail"),
                ("enable.auto.commit", "false"),
                ("auto.offset.reset", "earliest"),
                ("fetch.queue.backoff.ms", "5"),
                ("fetch.wait.max.ms", "50"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        let client = Client::new(Side::Consumer, &config, None)?;
        let mut list = PartitionList::new();
        for &(topic, partitions) in topics {
            for partition in 0..partitions {
                list.add(topic, partition, 0, -1);
            }
        }
        client.assign(Some(&list)).map_err(|error| error.to_string())?;
        Ok(Tail { records: client.records(), events: client.queue() })
    }

    /// The next record, if one comes within `timeout`.
    #[must_use]
    pub fn poll(&self, timeout: Duration) -> Option<TailRecord> {
        // Other events of the client are discarded.
        while self.events.poll(0).is_some() {}
        let mut event = self.records.poll(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX))?;
        if event.kind() != EventKind::Fetch {
            return None;
        }
        let message = event.next_message().filter(|message| message.code() == Code::OK)?;
        Some(TailRecord {
            topic: String::from_utf8_lossy(message.topic()).into_owned(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.value().map(<[u8]>::to_vec),
            headers: message.headers().map(|h| (h.name.to_vec(), h.value.map(<[u8]>::to_vec))).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arbitrary_bytes_are_read_as_they_were_written() {
        let broker = Broker::start(&[("t", 1)]).unwrap();
        let feeder = Feeder::new(broker.bootstrap(), "t").unwrap();
        let headers = [
            Header { name: b"\xff\xfe", value: None },
            Header { name: b"a", value: Some(b"") },
            Header { name: b"a", value: Some(b"\0x") },
        ];
        feeder.send(None, Some(b""), &headers, Some(1234)).unwrap();
        feeder.send(Some(b""), None, &[], Some(5)).unwrap();
        assert!(feeder.flush(Duration::from_secs(10)));
        let tail = Tail::new(broker.bootstrap(), &[("t", 1)]).unwrap();
        let mut found = Vec::new();
        for _ in 0..200 {
            found.extend(tail.poll(Duration::from_millis(50)));
            if found.len() == 2 {
                break;
            }
        }
        let owned: Vec<_> = headers.iter().map(|h| (h.name.to_vec(), h.value.map(<[u8]>::to_vec))).collect();
        assert_eq!(
            (found[0].timestamp, &found[0].key, &found[0].value, &found[0].headers),
            (1234, &None, &Some(vec![]), &owned)
        );
        assert_eq!((found[1].timestamp, &found[1].key, &found[1].value), (5, &Some(vec![]), &None));
    }

    #[test]
    fn records_are_taken_together_in_order_and_dropped_unread() {
        let broker = Broker::start(&[("t", 1)]).unwrap();
        let feeder = Feeder::new(broker.bootstrap(), "t").unwrap();
        for value in [b"0", b"1", b"2", b"3", b"4"] {
            feeder.send(None, Some(value), &[], None).unwrap();
        }
        assert!(feeder.flush(Duration::from_secs(10)));
        let tail = Tail::new(broker.bootstrap(), &[("t", 1)]).unwrap();
        // One fetch response holds all records, so the others are there as soon as the first is.
        let first = (0..200).find_map(|_| tail.poll(Duration::from_millis(50))).unwrap();
        assert_eq!(first.offset, 0);
        let mut messages = tail.records.take(3);
        let offset = |messages: &mut crate::kafka::sys::Messages| messages.next_with(|message| message.offset());
        assert_eq!((offset(&mut messages), offset(&mut messages)), (Some(1), Some(2)));
        drop(messages);
        let mut messages = tail.records.take(3);
        assert_eq!((offset(&mut messages), offset(&mut messages)), (Some(4), None));
    }

    /// `was_fetched_without_headers` depends on librdkafka's memory layout. With another version it is always false
    /// until that version's layout was checked.
    #[test]
    fn a_record_without_headers_is_recognized_in_memory() {
        let broker = Broker::start(&[("t", 1)]).unwrap();
        let feeder = Feeder::new(broker.bootstrap(), "t").unwrap();
        let header = [Header { name: b"", value: None }];
        for (key, value, headers) in [
            (None, Some(&b"0"[..]), &[][..]),
            (Some(&b"k"[..]), Some(&b"1"[..]), &header[..]),
            (None, None, &[][..]),
            (None, None, &header[..]),
        ] {
            feeder.send(key, value, headers, None).unwrap();
        }
        assert!(feeder.flush(Duration::from_secs(10)));
        let tail = Tail::new(broker.bootstrap(), &[("t", 1)]).unwrap();
        let mut found = Vec::new();
        for _ in 0..200 {
            let mut event = tail.records.poll(50);
            while let Some(message) = event.as_mut().and_then(Event::next_message) {
                found.push((message.was_fetched_without_headers(), message.headers().count()));
            }
            if found.len() == 4 {
                break;
            }
        }
        assert_eq!(found, [(true, 0), (false, 1), (true, 0), (false, 1)]);
    }
}
