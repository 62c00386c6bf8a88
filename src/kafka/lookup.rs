//! The lookup thread: asks the cluster the questions whose requests block, such as whether a topic exists or where a partition starts.
//!
//! The worker doesn't wait: the answer comes back through a function that puts it into the worker's inbox. A question
//! is retried until a broker answers it or the thread is stopped, so an outage only delays the answer. Between its
//! retries other questions are asked, so a denied question delays no other. Each partition is answered separately: one
//! without a leader is reported as unanswered and does not delay the others.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use super::Settings;
pub use super::answer::Answer;
pub use super::answer::Other;
pub use super::answer::RangeOf;
pub use super::answer::StartOf;
pub use super::answer::Watched;
use super::changelog;
use super::classify;
use super::classify::code;
use super::command::Commands;
use super::consumer::Consumer;
use super::consumer::Position;
use super::limits::TopicLimits;
use super::members;
use super::offset_metadata::OffsetMetadata;
use super::offset_metadata::TopicId;
use super::probe;
use super::probe::now;
use super::settings::Isolation;
use super::settings::OnRecreate;
use super::settings::Start;
use super::sys;
use super::sys::Client;
use super::sys::Code;
use super::sys::Described;
use super::sys::Entry;
use super::sys::Error;
use super::sys::PartitionList;
use crate::record::Offset;
use crate::record::TopicPartition;
use crate::telemetry;

/// One question.
#[derive(Debug)]
enum Question {
    Topics,
    Starts(Vec<TopicPartition>),
    Committed(Vec<TopicPartition>),
    Ranges(Vec<TopicPartition>),
    Ends(Vec<TopicPartition>),
    Watch(Vec<TopicPartition>),
    Protocol,
    Members,
    /// With the topic of the output that was denied, if any.
    Probe(Vec<TopicPartition>, Option<String>),
    Limits,
    /// Topics that records name.
    Named(Vec<Arc<str>>),
    /// Not a question: later questions are about these settings.
    Change(Box<Settings>),
}

/// The handle of the lookup thread.
pub struct Lookup {
    /// Each question with its number, which its answers carry.
    questions: Option<mpsc::Sender<(u64, Question)>>,
    /// The number of questions asked so far.
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
        let asker = LookupThread {
            client: Arc::clone(consumer.client()),
            settings: settings.clone(),
            stop: Arc::clone(&stop),
            known: None,
            reported_limits: BTreeSet::new(),
            limits_unanswered: 0,
        };
        let thread = telemetry::spawn(format!("lookup-{worker}"), move || asker.run(&inbox, &answer))?;
        Ok(Lookup { questions: Some(questions), asked: Cell::new(0), stop, thread: Some(thread) })
    }

    /// Asks whether every topic that the pipeline names exists.
    pub fn ask_topics(&self) {
        self.ask(Question::Topics);
    }

    /// Asks where these partitions start. The answers carry the number `question`.
    pub fn ask_starts(&self, question: u64, partitions: Vec<TopicPartition>) {
        self.send(question, Question::Starts(partitions));
    }

    /// Asks for the offset ranges of these partitions, once: partitions without an answer are left out. Returns the
    /// number that the answer carries.
    pub fn ask_ranges(&self, partitions: Vec<TopicPartition>) -> u64 {
        self.ask(Question::Ranges(partitions))
    }

    /// Asks for the group's committed offsets of these partitions, until the coordinator answers. Returns the number that the answer
    /// carries.
    pub fn ask_committed(&self, partitions: Vec<TopicPartition>) -> u64 {
        self.ask(Question::Committed(partitions))
    }

    /// Asks once for the protocol with which the group's members share partitions.
    pub fn ask_protocol(&self) {
        self.ask(Question::Protocol);
    }

    /// Asks once for the group's members.
    pub fn ask_members(&self) {
        self.ask(Question::Members);
    }

    /// Asks once for the current state of these partitions' topics.
    pub fn ask_watch(&self, partitions: Vec<TopicPartition>) {
        self.ask(Question::Watch(partitions));
    }

    /// Asks once for the end offsets of these partitions. A partition that no broker answers for is left out.
    pub fn ask_ends(&self, partitions: Vec<TopicPartition>) {
        self.ask(Question::Ends(partitions));
    }

    /// Asks until the cluster has everything that the pipeline names and these partitions' offsets, and allows this
    /// client to write to `denied`.
    pub fn ask_probe(&self, partitions: Vec<TopicPartition>, denied: Option<String>) {
        self.ask(Question::Probe(partitions, denied));
    }

    /// Asks once for the limits of the topics that are written.
    pub fn ask_limits(&self) {
        self.ask(Question::Limits);
    }

    /// Asks, until a broker answers, whether these topics exist and may be written. A newer question replaces an older one.
    pub fn ask_named(&self, topics: Vec<Arc<str>>) {
        self.ask(Question::Named(topics));
    }

    /// Makes later questions be about these settings. The connection stays open.
    pub fn change(&self, settings: Settings) {
        self.ask(Question::Change(Box::new(settings)));
    }

    fn ask(&self, question: Question) -> u64 {
        let number = self.asked.get() + 1;
        self.asked.set(number);
        self.send(number, question);
        number
    }

    fn send(&self, number: u64, question: Question) {
        if let Some(questions) = &self.questions {
            // The thread runs until this handle is dropped.
            let _ = questions.send((number, question));
        }
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
/// After this many failures to answer for a topic's limit, a broker that answers everything else is no longer asked for limits.
const LIMITS_UNANSWERED_MAX: u32 = 4;
/// What a topic that doesn't exist, or is denied, is reported with.
const LACKING: [Code; 4] =
    [code::UNKNOWN_TOPIC_OR_PART, code::UNKNOWN_TOPIC, code::INVALID_TOPIC, code::TOPIC_AUTHORIZATION_FAILED];
/// librdkafka's `RD_KAFKA_OFFSET_INVALID`.
const NO_OFFSET: i64 = -1001;
/// Between two tries of a question that no broker answers.
const PAUSE: Duration = Duration::from_millis(200);
/// Between two tries of a denied question.
const DENIED_PAUSE: Duration = Duration::from_secs(10);

struct LookupThread {
    client: Arc<Client>,
    settings: Settings,
    stop: Arc<AtomicBool>,
    /// The number of partitions of each topic when the pipeline started; `None` until then. A partition added since
    /// starts at its beginning, since all of its records were written after the pipeline started.
    known: Option<BTreeMap<String, usize>>,
    /// The topics for which the log already says that the limit is unknown.
    reported_limits: BTreeSet<String>,
    /// How often in a row a broker didn't answer for a topic's limit.
    limits_unanswered: u32,
}

/// A question that waits to be asked.
#[derive(Debug)]
struct Pending {
    number: u64,
    question: Question,
    /// The earliest time to ask it.
    due: Instant,
}

/// The questions that wait to be asked, the oldest first.
#[derive(Debug, Default)]
struct Agenda(VecDeque<Pending>);

impl Agenda {
    /// Adds a question. It replaces an older one of the same kind, since the newer answer is better. Questions for
    /// ranges are all kept, because each is about other partitions.
    fn add(&mut self, number: u64, question: Question, due: Instant) {
        if !matches!(question, Question::Ranges(_)) {
            let kind = std::mem::discriminant(&question);
            self.0.retain(|pending| std::mem::discriminant(&pending.question) != kind);
        }
        self.0.push_back(Pending { number, question, due });
    }

    /// Takes the oldest question that is due.
    fn next(&mut self, now: Instant) -> Option<Pending> {
        let place = self.0.iter().position(|pending| pending.due <= now)?;
        self.0.remove(place)
    }

    /// Schedules a retry at `due`, unless a newer question of the same kind is waiting.
    fn put_back(&mut self, pending: Pending, due: Instant) {
        let kind = std::mem::discriminant(&pending.question);
        if !self.0.iter().any(|other| std::mem::discriminant(&other.question) == kind) {
            self.0.push_back(Pending { due, ..pending });
        }
    }

    /// When the next question is due.
    fn due(&self) -> Option<Instant> {
        self.0.iter().map(|pending| pending.due).min()
    }
}

impl LookupThread {
    fn run(mut self, inbox: &mpsc::Receiver<(u64, Question)>, answer: &(impl Fn(u64, Answer) + Send)) {
        let mut agenda = Agenda::default();
        while !self.stop.load(Ordering::Relaxed) {
            let wait = agenda.due().map_or(Duration::MAX, |due| due.saturating_duration_since(now()));
            match inbox.recv_timeout(wait) {
                Ok((_, Question::Change(settings))) => {
                    self.settings = *settings;
                    continue;
                }
                Ok((number, question)) => {
                    agenda.add(number, question, now());
                    continue;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            let Some(pending) = agenda.next(now()) else { continue };
            if let Some(pause) = self.ask(&pending, answer) {
                agenda.put_back(pending, now() + pause);
            }
        }
    }

    /// Asks a question. Returns the pause before a retry, if it needs one.
    fn ask(&mut self, pending: &Pending, answer: &(impl Fn(u64, Answer) + Send)) -> Option<Duration> {
        let Pending { number, question, .. } = pending;
        let result = match question {
            Question::Topics => self.topics(),
            Question::Starts(partitions) => self.starts(partitions, &|found| answer(*number, found)),
            Question::Committed(partitions) => self.committed(partitions),
            Question::Ranges(partitions) => Ok(self.ranges(partitions)),
            Question::Ends(partitions) => Ok(self.ends(partitions)),
            Question::Watch(partitions) => Ok(self.watch(partitions)),
            Question::Protocol => {
                let group = self.client.describe_group(&self.settings.input.group, REQUEST_MS);
                Ok(Answer::Protocol(group.ok().and_then(|group| group.protocol)))
            }
            Question::Members => Ok(Answer::Members(members::ask(&self.client, &self.settings, REQUEST_MS))),
            Question::Probe(partitions, denied) => self.probe(partitions, denied.as_deref()),
            Question::Limits => Ok(self.written()),
            Question::Named(topics) => self.named(topics),
            Question::Change(_) => return None,
        };
        if self.stop.load(Ordering::Relaxed) {
            return None;
        }
        match result {
            Ok(Answer::Denied { reason }) => {
                answer(*number, Answer::Denied { reason });
                Some(DENIED_PAUSE)
            }
            Ok(found) => {
                answer(*number, found);
                None
            }
            Err(error) if classify::is_denied(error.code) => {
                answer(*number, Answer::Denied { reason: self.denied(&error) });
                // Partitions that may be read must not wait for those that may not.
                if let Question::Starts(partitions) = question {
                    let unknown = partitions.iter().map(|partition| (partition.clone(), error.to_string())).collect();
                    answer(*number, Answer::Starts { starts: Vec::new(), unknown });
                    return None;
                }
                Some(DENIED_PAUSE)
            }
            Err(error) => {
                answer(*number, Answer::Waiting { reason: error.to_string() });
                Some(PAUSE)
            }
        }
    }

    /// The limits of the topics that are written, or which of them doesn't exist.
    fn written(&mut self) -> Answer {
        let mut leaders = Vec::new();
        for (output, topic) in self.settings.topics_written() {
            match self.client.leaders(topic, REQUEST_MS) {
                Ok(found) => leaders.push((topic.to_owned(), found)),
                Err(error) if [code::UNKNOWN_TOPIC_OR_PART, code::UNKNOWN_TOPIC].contains(&error.code) => {
                    return Answer::NoOutput { output, failure: classify::delivery(error.code, &error.text, topic) };
                }
                Err(_) => return Answer::Limits(None),
            }
        }
        let bytes = self.limits().ok();
        Answer::Limits(bytes.map(|bytes| TopicLimits::of(&self.settings.outputs, bytes, &leaders)))
    }

    /// Whether topics exist and may be written. A broker that doesn't describe topics is asked for their leaders.
    fn named(&self, topics: &[Arc<str>]) -> Result<Answer, Error> {
        let names: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
        // The embedded broker doesn't answer that.
        let describes = self.settings.reports_topic_limits;
        let described = describes.then(|| self.client.describe_topics(&names, REQUEST_MS)).and_then(Result::ok);
        let mut answers = Vec::new();
        for topic in topics {
            let lacks = match &described {
                None => match self.client.leaders(topic, REQUEST_MS) {
                    Ok(_) => None,
                    Err(error) if LACKING.contains(&error.code) => Some(error.code),
                    Err(error) => return Err(error),
                },
                Some(described) => {
                    let Some(found) = described.iter().find(|found| *found.name == **topic) else { continue };
                    match &found.error {
                        // Any other error is temporary, such as that of a leader that is being chosen.
                        Some(error) => Some(error.code).filter(|code| LACKING.contains(code)),
                        None => probe::denies_writing(found).then_some(code::TOPIC_AUTHORIZATION_FAILED),
                    }
                }
            };
            let failure = lacks.map(|code| {
                let failure = classify::delivery(code, &code.to_string(), topic);
                classify::of_named(failure, topic, &self.settings)
            });
            answers.push((Arc::clone(topic), failure));
        }
        Ok(Answer::Named(answers))
    }

    fn topics(&mut self) -> Result<Answer, Error> {
        let mut missing = Vec::new();
        let mut known = BTreeMap::new();
        let mut written = Vec::new();
        let inputs = self.settings.input.topics.iter().filter(|topic| !topic.starts_with('^'));
        let outputs = self.settings.outputs.iter().filter_map(|output| Some(("output", output.topic.as_ref()?)));
        let dead_letters = self.settings.dead_letter.iter();
        let dead_letters = dead_letters.filter_map(|output| Some(("dead-letter", output.topic.as_ref()?)));
        let named: Vec<(&str, &String)> =
            inputs.map(|topic| ("input", topic)).chain(outputs).chain(dead_letters).collect();
        for (role, topic) in named {
            match self.client.leaders(topic, REQUEST_MS) {
                Ok(leaders) => {
                    known.insert(topic.clone(), leaders.len());
                    if role != "input" {
                        written.push((topic.clone(), leaders));
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
        if missing.is_empty()
            && let Some(changelog) = &self.settings.changelog
        {
            let topic = changelog.topic_name().to_owned();
            match changelog::leaders(&self.client, &self.settings, &known, REQUEST_MS)? {
                Ok(leaders) => written.push((topic, leaders)),
                Err(lacks) => missing.push(lacks),
            }
        }
        let bytes = if missing.is_empty() { self.limits()? } else { Vec::new() };
        if self.known.is_none() && missing.is_empty() {
            if self.settings.input.topics.iter().any(|topic| topic.starts_with('^')) {
                known.extend(self.client.topics(true, REQUEST_MS)?);
            }
            self.known = Some(known);
        }
        let limits = TopicLimits::of(&self.settings.outputs, bytes, &written);
        Ok(Answer::Topics { missing, limits })
    }

    /// The largest batch that each written topic accepts; `None` if the cluster doesn't report it.
    fn limits(&mut self) -> Result<Vec<Option<usize>>, Error> {
        if !self.settings.reports_topic_limits {
            return Ok(vec![None; self.settings.written().count()]);
        }
        let mut limits = Vec::new();
        for output in self.settings.written() {
            let Some(topic) = &output.topic else {
                limits.push(None);
                continue;
            };
            let why = match self.client.topic_setting(topic, "max.message.bytes", REQUEST_MS) {
                Ok(Some(value)) => match value.parse() {
                    Ok(limit) => {
                        self.limits_unanswered = 0;
                        limits.push(Some(limit));
                        continue;
                    }
                    Err(_) => format!("it says `{value}`"),
                },
                Ok(None) => "it says nothing".to_owned(),
                // The topics' metadata was just answered, so a broker is reachable. One that never answers this
                // question doesn't support it.
                Err(error)
                    if [code::TIMED_OUT, code::TRANSPORT, code::ALL_BROKERS_DOWN].contains(&error.code)
                        && self.limits_unanswered < LIMITS_UNANSWERED_MAX =>
                {
                    self.limits_unanswered += 1;
                    return Err(error);
                }
                Err(error) => error.to_string(),
            };
            limits.push(None);
            if self.reported_limits.insert(topic.clone()) {
                tracing::info!(
                    "the cluster doesn't tell `max.message.bytes` of topic `{topic}` ({why}), so batches for it are as large as \
                     topics take by default, or as it turns out to take; the permission for it is DescribeConfigs"
                );
            }
        }
        Ok(limits)
    }

    /// Whether the cluster has what it lacked: the named topics, the permission to read them as this group, and the
    /// group's offsets of these partitions.
    fn probe(&mut self, partitions: &[TopicPartition], denied: Option<&str>) -> Result<Answer, Error> {
        let Answer::Topics { missing, limits } = self.topics()? else {
            return Ok(Answer::Probed { limits: TopicLimits::default() });
        };
        if !missing.is_empty() {
            return Ok(Answer::Denied { reason: missing.join("; ") });
        }
        if let Some(topic) = denied
            && let Ok(described) = self.client.describe_topics(&[topic], REQUEST_MS)
            && described.iter().any(probe::denies_writing)
        {
            let code = code::TOPIC_AUTHORIZATION_FAILED.name();
            let command = Commands::of(&self.settings).remedy(&code, "output", topic);
            return Ok(Answer::Denied { reason: format!("no permission to write to topic `{topic}`; {command}") });
        }
        self.may_read(partitions)?;
        if !partitions.is_empty() {
            let mut committed = PartitionList::new();
            for partition in partitions {
                committed.add(&partition.topic, partition.partition, NO_OFFSET, -1);
            }
            self.group_offsets(&mut committed)?;
            if let Some(entry) = committed.entries().into_iter().find(|entry| entry.code.0 != 0) {
                return Err(Error { code: entry.code, text: format!("{}: {}", entry.topic, entry.code) });
            }
        }
        Ok(Answer::Probed { limits })
    }

    /// Fetching offsets needs fewer permissions than reading, and the consumer reports only once that reading is denied.
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
                // Allowed, or the broker doesn't report permissions.
                Ok(None) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// The message for a denial, with the commands that grant the permission.
    fn denied(&self, error: &Error) -> String {
        let command = Commands::of(&self.settings).remedy_input(&error.code.name(), &self.settings.input);
        format!("{error}; {command}")
    }

    /// Fills in the group's offsets. The coordinator doesn't tell them while a transaction holds newer ones, and librdkafka says no
    /// more than that the time was up.
    fn group_offsets(&self, list: &mut PartitionList) -> Result<(), Error> {
        self.client.committed(list, REQUEST_MS).map_err(|error| match error.code {
            code::TIMED_OUT if self.settings.input.isolation == Isolation::ReadCommitted => {
                let find = Commands::of(&self.settings).find_hanging_transactions();
                let text = format!(
                    "{} waiting for the offsets of the group: its coordinator doesn't answer, or a transaction with offsets of the group \
                     has not ended; one that never will is found by: {find}",
                    error.text
                );
                Error { text, ..error }
            }
            _ => error,
        })
    }

    fn committed(&self, partitions: &[TopicPartition]) -> Result<Answer, Error> {
        let mut committed = PartitionList::new();
        for partition in partitions {
            committed.add(&partition.topic, partition.partition, NO_OFFSET, -1);
        }
        self.group_offsets(&mut committed)?;
        let answered = committed.entries().into_iter().filter(|entry| entry.code == Code::OK);
        let found = answered.map(|entry| {
            let offset = (entry.offset >= 0).then_some(Offset(entry.offset));
            (named(entry.topic, entry.partition), offset)
        });
        Ok(Answer::Committed(found.collect()))
    }

    /// Answers with the committed positions at once, and then with the others.
    fn starts(&self, partitions: &[TopicPartition], answer: &impl Fn(Answer)) -> Result<Answer, Error> {
        let mut committed = PartitionList::new();
        for partition in partitions {
            committed.add(&partition.topic, partition.partition, NO_OFFSET, -1);
        }
        self.group_offsets(&mut committed)?;
        let (denied, entries): (Vec<Entry>, Vec<Entry>) =
            committed.entries().into_iter().partition(|entry| entry.code != Code::OK);
        let denied = denied.into_iter().map(|Entry { topic, partition, code, .. }| {
            (named(topic, partition), Error { code, text: code.to_string() })
        });
        let mut unknown: Vec<(TopicPartition, Error)> = denied.collect();
        let ids = self.ids(partitions);
        let mut starts = Vec::new();
        let mut wanted = Wanted::default();
        for entry in entries {
            let topic = ids.get(entry.topic.as_str()).copied().flatten();
            let (offset, leader_epoch, note) = (entry.offset, entry.leader_epoch, entry.note.as_str().into());
            let was = OffsetMetadata::parse(&entry.note).topic;
            let partition = named(entry.topic, entry.partition);
            let other = match (was, topic) {
                (Some(was), Some(is)) if was != is && offset >= 0 => Some(Other { was, is, committed: Offset(offset) }),
                _ => None,
            };
            if offset >= 0 && (other.is_none() || self.settings.input.on_recreate == OnRecreate::Stop) {
                let position = Position { partition, offset: Offset(offset), leader_epoch, note };
                // If no broker reports the current id, the committed one is used: a different id is noticed as soon as one is reported.
                starts.push(StartOf { position, committed: true, topic: topic.or(was), other });
            } else {
                let from = if other.is_some() { sys::OLDEST } else { self.uncommitted(&partition) };
                wanted.push(partition, from, topic, other);
            }
        }
        let mut any = !starts.is_empty();
        if any && !wanted.0.is_empty() {
            answer(Answer::Starts { starts: std::mem::take(&mut starts), unknown: Vec::new() });
        }
        if !wanted.0.is_empty() {
            let (more, without) = self.list(wanted);
            any |= !more.is_empty();
            starts = more;
            unknown.extend(without);
        }
        // If every partition is denied, the whole pipeline is.
        if let Some((partition, error)) = unknown.iter().find(|(_, error)| !any && classify::is_denied(error.code)) {
            return Err(Error { code: error.code, text: format!("{partition}: {}", error.text) });
        }
        let unknown = unknown.into_iter().map(|(partition, error)| (partition, error.to_string())).collect();
        Ok(Answer::Starts { starts, unknown })
    }

    /// The offset at which a partition without a committed one starts, in the form that [`Client::list_offsets`] takes.
    fn uncommitted(&self, partition: &TopicPartition) -> i64 {
        let known = self.known.as_ref().and_then(|known| known.get(&*partition.topic)).copied().unwrap_or(0);
        let was_there = usize::try_from(partition.partition).is_ok_and(|number| number < known);
        if !was_there {
            return sys::OLDEST;
        }
        match self.settings.input.start {
            Start::Earliest => sys::OLDEST,
            Start::Latest => sys::END,
            Start::Timestamp(timestamp) => timestamp,
        }
    }

    /// Asks for the offsets of all of them at once. Returns the starts, and the partitions without an answer.
    fn list(&self, wanted: Wanted) -> (Vec<StartOf>, Vec<(TopicPartition, Error)>) {
        let mut offsets = self.offsets(wanted.0.iter().map(|(partition, want)| (partition, want.from)));
        // If all records are older than the timestamp, the partition starts at its end.
        let older =
            wanted.0.iter().filter(|(partition, want)| want.from >= 0 && offsets.get(partition) == Some(&Ok(None)));
        let older: Vec<(&TopicPartition, i64)> = older.map(|(partition, _)| (partition, sys::END)).collect();
        if !older.is_empty() {
            offsets.extend(self.offsets(older.into_iter()));
        }
        let (mut starts, mut unknown) = (Vec::new(), Vec::new());
        for (partition, Want { topic, other, .. }) in wanted.0 {
            match offsets.remove(&partition) {
                Some(Ok(Some(offset))) => {
                    let position = Position { partition, offset, leader_epoch: -1, note: Arc::default() };
                    starts.push(StartOf { position, committed: false, topic, other });
                }
                Some(Err(error)) => unknown.push((partition, error)),
                Some(Ok(None)) | None => {
                    unknown.push((
                        partition,
                        Error { code: code::TIMED_OUT, text: "its leader doesn't answer".to_owned() },
                    ));
                }
            }
        }
        (starts, unknown)
    }

    /// The offsets of partitions, each with its own result; `None` if the broker doesn't know the offset.
    fn offsets<'p>(
        &self,
        wanted: impl Iterator<Item = (&'p TopicPartition, i64)>,
    ) -> BTreeMap<TopicPartition, Result<Option<Offset>, Error>> {
        let mut list = PartitionList::new();
        let mut all = BTreeMap::new();
        for (partition, offset) in wanted {
            list.add(&partition.topic, partition.partition, offset, -1);
            all.insert(partition.clone(), Ok(None));
        }
        match self.client.list_offsets(&list, REQUEST_MS) {
            Ok(entries) => {
                for Entry { topic, partition, offset, code, .. } in entries {
                    let found = if code == Code::OK {
                        Ok((offset >= 0).then_some(Offset(offset)))
                    } else {
                        Err(Error { code, text: code.to_string() })
                    };
                    all.insert(named(topic, partition), found);
                }
            }
            Err(error) => all.values_mut().for_each(|found| *found = Err(error.clone())),
        }
        all
    }

    /// The ids of topics, where brokers report them.
    fn ids(&self, partitions: &[TopicPartition]) -> BTreeMap<String, Option<TopicId>> {
        // No answer is treated like a broker that doesn't know topic ids.
        self.described(partitions).unwrap_or_default().into_iter().map(|topic| (topic.name, topic.id)).collect()
    }

    fn described(&self, partitions: &[TopicPartition]) -> Result<Vec<Described>, Error> {
        let topics: BTreeSet<&str> = partitions.iter().map(|partition| &*partition.topic).collect();
        self.client.describe_topics(&topics.into_iter().collect::<Vec<_>>(), REQUEST_MS)
    }

    fn ranges(&self, partitions: &[TopicPartition]) -> Answer {
        let ids = self.ids(partitions);
        let offsets = |offset| self.offsets(partitions.iter().map(|partition| (partition, offset)));
        let (oldest, ends) = (offsets(sys::OLDEST), offsets(sys::END));
        let range = |partition: &TopicPartition| {
            let known = |offsets: &BTreeMap<TopicPartition, Result<Option<Offset>, Error>>| {
                offsets.get(partition).and_then(|found| found.as_ref().ok().copied().flatten())
            };
            Some(RangeOf {
                partition: partition.clone(),
                topic: ids.get(&*partition.topic).copied().flatten(),
                oldest: known(&oldest)?,
                end: known(&ends)?,
            })
        };
        Answer::Ranges(partitions.iter().filter_map(range).collect())
    }

    fn ends(&self, partitions: &[TopicPartition]) -> Answer {
        let found = self.offsets(partitions.iter().map(|partition| (partition, sys::END)));
        let known = |(partition, end): (TopicPartition, Result<Option<Offset>, Error>)| Some((partition, end.ok()??));
        Answer::Ends(found.into_iter().filter_map(known).collect())
    }

    fn watch(&self, partitions: &[TopicPartition]) -> Answer {
        let watched = |Described { name, error, id, leaders, .. }: Described| {
            let leaderless = leaders.into_iter().filter(|&(_, leader)| leader < 0).map(|(number, _)| number);
            error.is_none().then(|| Watched { topic: name.into(), id, leaderless: leaderless.collect() })
        };
        Answer::Watched(self.described(partitions).unwrap_or_default().into_iter().filter_map(watched).collect())
    }
}

/// Partitions whose offsets must be looked up.
#[derive(Default)]
struct Wanted(Vec<(TopicPartition, Want)>);

struct Want {
    /// In the form that [`Client::list_offsets`] takes.
    from: i64,
    topic: Option<TopicId>,
    other: Option<Other>,
}

impl Wanted {
    fn push(&mut self, partition: TopicPartition, from: i64, topic: Option<TopicId>, other: Option<Other>) {
        self.0.push((partition, Want { from, topic, other }));
    }
}

fn named(topic: String, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.into(), partition }
}

#[cfg(test)]
mod tests;
