//! The questions whose answers block: does a topic exist, where does a partition start. On a thread of its own.
//!
//! The worker asks and goes on; the answer comes back through a function that puts it into the worker's inbox. A question is
//! asked again until a broker answers it or the thread is told to stop, since an outage is nothing but a wait.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::Settings;
use super::classify;
use super::classify::code;
use super::command::Commands;
use super::consumer::Consumer;
use super::consumer::Position;
use super::probe;
use super::settings::Start;
use super::settings::TopicLimits;
use super::sys::Client;
use super::sys::Code;
use super::sys::Entry;
use super::sys::Error;
use super::sys::PartitionList;
use crate::record::Offset;
use crate::record::TopicPartition;

/// One question.
#[derive(Debug)]
enum Question {
    Topics,
    Starts(Vec<TopicPartition>),
    Ends(Vec<TopicPartition>),
    Probe(Vec<TopicPartition>),
    /// No question: from here on they are about these settings.
    Change(Box<Settings>),
}

/// One answer.
#[derive(Debug)]
pub enum Answer {
    /// The topics that the pipeline names and the cluster lacks, each with a message; empty when all are there.
    Topics {
        /// One message a missing topic.
        missing: Vec<String>,
        /// When none is missing, what the topics that are written take.
        limits: TopicLimits,
    },
    /// The cluster has everything that the pipeline names.
    Probed {
        /// As above.
        limits: TopicLimits,
    },
    /// A person must act; the question is asked again every 10 s.
    Denied {
        /// What is missing, and the command that mends it.
        reason: String,
    },
    /// Where the partitions start.
    Starts(Vec<StartOf>),
    /// Where partitions end, as far as brokers said: behind the last record that this group may read.
    Ends(Vec<(TopicPartition, Offset)>),
    /// No broker has answered yet, and why; the question is still being asked.
    Waiting {
        /// librdkafka's words.
        reason: String,
    },
}

/// Where one partition starts.
#[derive(Clone, Debug)]
pub struct StartOf {
    /// The position to read from. After a gap: the oldest record.
    pub position: Position,
    /// Whether the group has committed it.
    pub committed: bool,
    /// The records between the committed offset and the oldest one, if retention has passed it, or the committed offset lies behind
    /// the end of a topic that was made anew.
    pub gap: Option<Gap>,
    /// The oldest record there is.
    pub oldest: Offset,
    /// Behind the newest record.
    pub end: Offset,
}

/// A committed offset that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// What the group had committed.
    pub committed: Offset,
    /// The oldest record there is.
    pub oldest: Offset,
}

impl Gap {
    /// How many records were missed, as far as offsets tell.
    #[must_use]
    pub fn missed(&self) -> u64 {
        u64::try_from(self.oldest.0 - self.committed.0).unwrap_or(0)
    }
}

/// The thread that asks.
pub struct Lookup {
    /// Each with its number, which its answers carry.
    questions: Option<mpsc::Sender<(u64, Question)>>,
    /// How many questions there were.
    asked: Cell<u64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Lookup {
    /// Starts the thread. `answer` is called on it, with the number of the question.
    ///
    /// # Errors
    /// If the thread can't be started.
    pub fn start(
        consumer: &Consumer,
        settings: &Settings,
        worker: usize,
        answer: impl Fn(u64, Answer) + Send + 'static,
    ) -> std::io::Result<Lookup> {
        let (questions, inbox) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let asker = Asker {
            client: Arc::clone(consumer.client()),
            settings: settings.clone(),
            stop: Arc::clone(&stop),
            known_partitions: BTreeMap::new(),
            told_limits: BTreeSet::new(),
            limits_unanswered: 0,
        };
        let thread =
            std::thread::Builder::new().name(format!("lookup-{worker}")).spawn(move || asker.run(&inbox, &answer))?;
        Ok(Lookup { questions: Some(questions), asked: Cell::new(0), stop, thread: Some(thread) })
    }

    /// Asks whether every topic that the pipeline names exists.
    pub fn ask_topics(&self) {
        self.ask(Question::Topics);
    }

    /// Asks where these partitions start. Returns the number that the answer carries.
    pub fn ask_starts(&self, partitions: Vec<TopicPartition>) -> u64 {
        self.ask(Question::Starts(partitions))
    }

    /// Asks where these partitions end, once: a question that no broker answers is dropped.
    pub fn ask_ends(&self, partitions: Vec<TopicPartition>) {
        self.ask(Question::Ends(partitions));
    }

    /// Asks, until it is so, whether the cluster has everything that the pipeline names and these partitions' offsets.
    pub fn ask_probe(&self, partitions: Vec<TopicPartition>) {
        self.ask(Question::Probe(partitions));
    }

    /// From here on questions are about these outputs; the connection stays.
    pub fn change(&self, settings: Settings) {
        self.ask(Question::Change(Box::new(settings)));
    }

    fn ask(&self, question: Question) -> u64 {
        let number = self.asked.get() + 1;
        self.asked.set(number);
        if let Some(questions) = &self.questions {
            // The thread ends only when it is dropped.
            let _ = questions.send((number, question));
        }
        number
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.questions = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The longest time that one request may block, and so the longest time that dropping a [`Lookup`] takes.
const REQUEST_MS: i32 = 2000;
/// A broker that does not answer so often what a topic takes, but everything else, is not asked any more.
const LIMITS_UNANSWERED_MAX: u32 = 4;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);
/// Between two tries of what a person must mend.
const DENIED_PAUSE: Duration = Duration::from_secs(10);
/// What a topic takes when the cluster doesn't say: Kafka's default is a little more.
const LIMIT_ASSUMED: usize = 1_000_000;

struct Asker {
    client: Arc<Client>,
    settings: Settings,
    stop: Arc<AtomicBool>,
    /// How many partitions each topic had when it was first seen. Those above it were added while the group ran, and start at
    /// their beginning, since everything in them came after the pipeline began.
    known_partitions: BTreeMap<String, usize>,
    /// The topics of which it was said that their limit is assumed.
    told_limits: BTreeSet<String>,
    /// How often in a row a broker did not answer what a topic takes.
    limits_unanswered: u32,
}

impl Asker {
    fn run(mut self, inbox: &mpsc::Receiver<(u64, Question)>, answer: &(impl Fn(u64, Answer) + Send)) {
        while let Ok((number, question)) = inbox.recv() {
            if let Question::Change(settings) = question {
                self.settings = *settings;
                continue;
            }
            loop {
                let result = match &question {
                    Question::Topics => self.topics(),
                    Question::Starts(partitions) => self.starts(partitions),
                    Question::Ends(partitions) => Ok(self.ends(partitions)),
                    Question::Probe(partitions) => self.probe(partitions),
                    Question::Change(_) => break,
                };
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                let pause = match result {
                    Ok(Answer::Denied { reason }) => {
                        answer(number, Answer::Denied { reason });
                        DENIED_PAUSE
                    }
                    Ok(found) => {
                        answer(number, found);
                        break;
                    }
                    Err(error) if classify::is_denied(error.code) => {
                        answer(number, Answer::Denied { reason: self.denied(&error) });
                        DENIED_PAUSE
                    }
                    Err(error) => {
                        answer(number, Answer::Waiting { reason: error.to_string() });
                        PAUSE
                    }
                };
                for _ in 0..pause.as_millis() / PAUSE.as_millis() {
                    std::thread::sleep(PAUSE);
                    if self.stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }
        }
    }

    fn topics(&mut self) -> Result<Answer, Error> {
        let mut missing = Vec::new();
        // For each broker the partitions of outputs that it leads.
        let mut led: BTreeMap<i32, usize> = BTreeMap::new();
        let inputs = self.settings.input.topics.iter().filter(|topic| !topic.starts_with('^'));
        let outputs = self.settings.outputs.iter().map(|output| ("output", &output.topic));
        let dead_letters = self.settings.dead_letter.iter().map(|output| ("dead-letter", &output.topic));
        let named: Vec<(&str, &String)> =
            inputs.map(|topic| ("input", topic)).chain(outputs).chain(dead_letters).collect();
        for (role, topic) in named {
            match self.client.leaders(topic, REQUEST_MS) {
                Ok(leaders) => {
                    self.known_partitions.entry(topic.clone()).or_insert(leaders.len());
                    for leader in leaders.into_iter().filter(|&leader| role == "output" && leader >= 0) {
                        *led.entry(leader).or_default() += 1;
                    }
                }
                Err(error) if [code::UNKNOWN_TOPIC_OR_PART, code::UNKNOWN_TOPIC].contains(&error.code) => {
                    let command = Commands::of(&self.settings).remedy(&error.code.name(), role, topic);
                    missing.push(format!("the {role} topic `{topic}` does not exist; {command}"));
                }
                Err(error) if error.code == code::TOPIC_AUTHORIZATION_FAILED => {
                    let command = Commands::of(&self.settings).remedy(&error.code.name(), role, topic);
                    missing.push(format!("no permission for the {role} topic `{topic}`; {command}"));
                }
                Err(error) => return Err(error),
            }
        }
        let bytes = if missing.is_empty() { self.limits()? } else { Vec::new() };
        let limits = TopicLimits { bytes, led: led.into_values().max().unwrap_or(0) };
        Ok(Answer::Topics { missing, limits })
    }

    /// What each topic that is written takes. Where the cluster doesn't tell, a limit is assumed that every topic has by default.
    fn limits(&mut self) -> Result<Vec<usize>, Error> {
        if !self.settings.tells_limits {
            return Ok(vec![LIMIT_ASSUMED; self.settings.written().count()]);
        }
        let mut limits = Vec::new();
        for output in self.settings.written() {
            let topic = &output.topic;
            let why = match self.client.topic_setting(topic, "max.message.bytes", REQUEST_MS) {
                Ok(Some(value)) => match value.parse() {
                    Ok(limit) => {
                        self.limits_unanswered = 0;
                        limits.push(limit);
                        continue;
                    }
                    Err(_) => format!("it says `{value}`"),
                },
                Ok(None) => "it says nothing".to_owned(),
                // The topics were just told, so a broker answers; one that never answers this question doesn't know it.
                Err(error)
                    if [code::TIMED_OUT, code::TRANSPORT, code::ALL_BROKERS_DOWN].contains(&error.code)
                        && self.limits_unanswered < LIMITS_UNANSWERED_MAX =>
                {
                    self.limits_unanswered += 1;
                    return Err(error);
                }
                Err(error) => error.to_string(),
            };
            limits.push(LIMIT_ASSUMED);
            if self.told_limits.insert(topic.clone()) {
                tracing::info!(
                    "the cluster doesn't tell `max.message.bytes` of topic `{topic}` ({why}): {LIMIT_ASSUMED} is assumed; the \
                     permission for it is DescribeConfigs"
                );
            }
        }
        Ok(limits)
    }

    /// Whether the cluster has what it lacked: the topics that are named, the right to read them as this group, and the group's
    /// offsets of these partitions.
    fn probe(&mut self, partitions: &[TopicPartition]) -> Result<Answer, Error> {
        let Answer::Topics { missing, limits } = self.topics()? else {
            return Ok(Answer::Probed { limits: TopicLimits::default() });
        };
        if !missing.is_empty() {
            return Ok(Answer::Denied { reason: missing.join("; ") });
        }
        self.may_read(partitions)?;
        if !partitions.is_empty() {
            let mut committed = PartitionList::new();
            for partition in partitions {
                committed.add(&partition.topic, partition.partition, -1001, -1);
            }
            self.client.committed(&mut committed, REQUEST_MS)?;
            if let Some(entry) = committed.entries().into_iter().find(|entry| entry.code.0 != 0) {
                return Err(Error { code: entry.code, text: format!("{}: {}", entry.topic, entry.code) });
            }
        }
        Ok(Answer::Probed { limits })
    }

    /// Offsets can be asked for with less than what reading takes, and the consumer tells only once that it may not.
    fn may_read(&self, partitions: &[TopicPartition]) -> Result<(), Error> {
        let named = self.settings.input.topics.iter().filter(|topic| !topic.starts_with('^')).map(String::as_str);
        let topics: BTreeSet<&str> = named.chain(partitions.iter().map(|partition| &*partition.topic)).collect();
        let topics: Vec<&str> = topics.into_iter().collect();
        let group = self.client.describe_group(&self.settings.input.group, REQUEST_MS).map(|group| vec![group]);
        let described = [
            (self.client.describe_topics(&topics, REQUEST_MS), code::TOPIC_AUTHORIZATION_FAILED),
            (group, code::GROUP_AUTHORIZATION_FAILED),
        ];
        for (described, code) in described {
            match described.map(|all| all.into_iter().find(probe::denies_reading)) {
                Ok(Some(denied)) => return Err(Error { code, text: format!("{}: {code}", denied.name) }),
                Err(error) if classify::is_denied(error.code) => return Err(error),
                // Or a broker that can't tell.
                Ok(None) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// The words for an error that a person must mend.
    fn denied(&self, error: &Error) -> String {
        let (commands, name) = (Commands::of(&self.settings), error.code.name());
        if error.code == code::GROUP_AUTHORIZATION_FAILED {
            return format!("{error}; {}", commands.remedy(&name, "group", &self.settings.input.group));
        }
        // A pattern is no topic's name.
        let topics = self.settings.input.topics.iter().filter(|topic| !topic.starts_with('^'));
        let all: Vec<String> = topics.map(|topic| commands.remedy(&name, "input", topic)).collect();
        format!("{error}; {}", all.join("; "))
    }

    fn starts(&mut self, partitions: &[TopicPartition]) -> Result<Answer, Error> {
        let mut committed = PartitionList::new();
        for partition in partitions {
            committed.add(&partition.topic, partition.partition, -1001, -1);
        }
        self.client.committed(&mut committed, REQUEST_MS)?;
        let mut starts = Vec::with_capacity(partitions.len());
        for entry in committed.entries() {
            if entry.code.0 != 0 {
                return Err(Error {
                    code: entry.code,
                    text: format!("{}/{}: {}", entry.topic, entry.partition, entry.code),
                });
            }
            let partition = TopicPartition { topic: entry.topic.into(), partition: entry.partition };
            let (low, high) = self.client.watermarks(&partition.topic, partition.partition, REQUEST_MS)?;
            let start = if entry.offset < 0 {
                let offset = self.uncommitted(&partition, low, high)?;
                StartOf {
                    position: Position { partition, offset: Offset(offset), leader_epoch: -1 },
                    committed: false,
                    gap: None,
                    oldest: Offset(low),
                    end: Offset(high),
                }
            } else {
                let whole = (low..=high).contains(&entry.offset);
                let gap = Gap { committed: Offset(entry.offset), oldest: Offset(low) };
                StartOf {
                    position: Position {
                        partition,
                        offset: Offset(if whole { entry.offset } else { low }),
                        leader_epoch: if whole { entry.leader_epoch } else { -1 },
                    },
                    committed: whole,
                    gap: (!whole).then_some(gap),
                    oldest: Offset(low),
                    end: Offset(high),
                }
            };
            starts.push(start);
        }
        Ok(Answer::Starts(starts))
    }

    fn ends(&self, partitions: &[TopicPartition]) -> Answer {
        let mut list = PartitionList::new();
        for partition in partitions {
            // -1 in place of a time is the end.
            list.add(&partition.topic, partition.partition, -1, -1);
        }
        let answered = self.client.offsets_for_times(&mut list, REQUEST_MS).is_ok();
        let known = list.entries().into_iter().filter(|entry| answered && entry.code == Code::OK && entry.offset >= 0);
        let end = |entry: Entry| {
            (TopicPartition { topic: entry.topic.into(), partition: entry.partition }, Offset(entry.offset))
        };
        Answer::Ends(known.map(end).collect())
    }

    /// The start of a partition without a committed offset.
    fn uncommitted(&mut self, partition: &TopicPartition, low: i64, high: i64) -> Result<i64, Error> {
        let topic = partition.topic.to_string();
        if !self.known_partitions.contains_key(&topic) {
            let leaders = self.client.leaders(&topic, REQUEST_MS)?;
            self.known_partitions.insert(topic.clone(), leaders.len());
        }
        if usize::try_from(partition.partition).is_ok_and(|number| number >= self.known_partitions[&topic]) {
            return Ok(low);
        }
        match self.settings.input.start {
            Start::Earliest => Ok(low),
            Start::Latest => Ok(high),
            Start::Timestamp(timestamp) => {
                let mut list = PartitionList::new();
                list.add(&topic, partition.partition, timestamp, -1);
                self.client.offsets_for_times(&mut list, REQUEST_MS)?;
                // Negative when all records are older.
                Ok(list.entries().first().map(|entry| entry.offset).filter(|&offset| offset >= 0).unwrap_or(high))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::embedded::Broker;
    use crate::kafka::settings::Output;
    use crate::kafka::settings::producer;
    use crate::kafka::sys::Side;

    /// How many requests a producer has on the way at once, for outputs with so many partitions on one broker.
    fn requests(partitions: [i32; 2]) -> String {
        let topics = [("in", 9), ("a", partitions[0]), ("b", partitions[1]), ("dead", 9)];
        let broker = Broker::start(&topics).unwrap();
        let settings = Settings {
            brokers: vec![broker.bootstrap().into()],
            outputs: vec![Output::example("a"), Output::example("b")],
            dead_letter: Some(Output::example("dead")),
            ..Settings::example()
        };
        let config = BTreeMap::from([("bootstrap.servers".to_owned(), broker.bootstrap().to_owned())]);
        let mut asker = Asker {
            client: Client::new(Side::Producer, &config).unwrap(),
            settings: settings.clone(),
            stop: Arc::default(),
            known_partitions: BTreeMap::new(),
            told_limits: BTreeSet::new(),
            limits_unanswered: 0,
        };
        // The first answer may come while the client still connects.
        let answer = (0..10).find_map(|_| asker.topics().ok()).unwrap();
        let Answer::Topics { missing, limits } = answer else { panic!("{answer:?}") };
        assert_eq!((missing, limits.bytes.len()), (Vec::new(), 3));
        producer(&settings, 0, 1 << 20, &limits)["max.in.flight.requests.per.connection"].clone()
    }

    #[test]
    fn a_broker_with_few_partitions_of_outputs_has_a_request_fewer_than_those() {
        assert_eq!([[1, 1], [1, 2], [2, 2], [5, 1], [40, 1]].map(requests), ["5", "2", "3", "5", "5"]);
    }
}
