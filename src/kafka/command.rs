//! The commands that messages print: complete, and safe to paste into a shell.
//!
//! All of them are built here. Each names the brokers and, if the cluster requires a user or TLS, the file with the
//! client's settings, using the options of the Kafka 4 tools. Names with special characters are quoted for the shell.
//! This module makes no calls and decides nothing.

use std::borrow::Cow;

use super::Settings;
use super::changelog;
use super::settings::Input;
use crate::record::Offset;
use crate::record::TopicPartition;

/// The commands for one cluster.
#[derive(Clone, Debug)]
pub struct Commands {
    brokers: String,
    user: String,
    is_secured: bool,
    /// See [`Settings::takes_orders_as`].
    pipeline: Option<String>,
}

/// What a permission is for.
#[derive(Clone, Copy, Debug)]
pub enum Resource<'a> {
    /// A topic.
    Topic(&'a str),
    /// A consumer group.
    Group(&'a str),
    /// All transactional ids that begin so.
    TransactionalIds(&'a str),
}

impl Commands {
    /// For the cluster of these settings, without secrets.
    #[must_use]
    pub fn of(settings: &Settings) -> Commands {
        let brokers = settings.hidden.hide(&settings.brokers.join(","));
        Commands::shown(settings, brokers, settings.shown_user())
    }

    /// Like [`Commands::of`], but with the given text for brokers and user, for output that must not show the real
    /// ones.
    #[must_use]
    pub fn shown(settings: &Settings, brokers: String, user: Option<String>) -> Commands {
        let is_secured = settings.tls.is_some()
            || settings.sasl.is_some()
            || settings.librdkafka.keys().any(|key| key == "security.protocol" || key.starts_with("sasl."));
        let user = user.unwrap_or_else(|| "NAME".to_owned());
        Commands { brokers, user, is_secured, pipeline: settings.takes_orders_as.clone() }
    }

    /// The same for a pipeline whose process stays when it has stopped.
    #[cfg(test)]
    pub(crate) fn in_process(self, pipeline: &str) -> Commands {
        Commands { pipeline: Some(pipeline.to_owned()), ..self }
    }

    /// For brokers that require neither a user nor TLS.
    #[cfg(test)]
    pub(crate) fn plain(brokers: &str) -> Commands {
        Commands { brokers: brokers.to_owned(), user: "NAME".to_owned(), is_secured: false, pipeline: None }
    }

    /// What an operator does when the cluster denies access to a topic or a group, or lacks it. `code` is Kafka's name
    /// of the error; `role` is `input`, `output`, `dead-letter` or `group`.
    #[must_use]
    pub fn remedy(&self, code: &str, role: &str, name: &str) -> String {
        let code = code.to_ascii_uppercase();
        if role == "group" {
            format!("grant it: {}", self.allow(&["Describe", "Read"], Resource::Group(name)))
        } else if code.contains("AUTHORIZATION") {
            let operation = if role == "input" { "Read" } else { "Write" };
            format!("grant it: {}", self.allow(&["Describe", operation], Resource::Topic(name)))
        } else if code.contains("UNKNOWN_TOPIC") {
            format!("create it: {}", self.create_topic(name))
        } else {
            "the log of the brokers says more".to_owned()
        }
    }

    /// Like [`Commands::remedy`], for an error about an input that doesn't name a topic: a command for its group, or
    /// one for each of its topics.
    #[must_use]
    pub fn remedy_input(&self, code: &str, input: &Input) -> String {
        if code.to_ascii_uppercase().contains("GROUP") {
            return self.remedy(code, "group", &input.group);
        }
        // A pattern is not the name of a topic.
        let topics = input.topics.iter().filter(|topic| !topic.starts_with('^'));
        let all: Vec<String> = topics.map(|topic| self.remedy(code, "input", topic)).collect();
        if all.is_empty() {
            return format!("the pipeline needs Describe and Read on the topics of `{}`", input.topics.join("`, `"));
        }
        all.join("; ")
    }

    /// Creates a topic.
    #[must_use]
    pub fn create_topic(&self, topic: &str) -> String {
        format!("{} --create --topic {} --partitions 4", self.tool("kafka-topics.sh"), quoted(topic))
    }

    /// Creates a changelog topic.
    #[must_use]
    pub fn create_changelog(&self, topic: &str, partitions: usize) -> String {
        let settings: String =
            changelog::SETTINGS.iter().map(|(key, value)| format!(" --config {key}={value}")).collect();
        let tool = self.tool("kafka-topics.sh");
        format!("{tool} --create --topic {} --partitions {partitions}{settings}", quoted(topic))
    }

    /// Gives a topic more partitions.
    #[must_use]
    pub fn add_partitions(&self, topic: &str, partitions: usize) -> String {
        format!("{} --alter --topic {} --partitions {partitions}", self.tool("kafka-topics.sh"), quoted(topic))
    }

    /// Changes a setting of a topic.
    #[must_use]
    pub fn alter_topic(&self, topic: &str, setting: &str) -> String {
        let tool = self.tool("kafka-configs.sh");
        format!("change it: {tool} --alter --entity-type topics --entity-name {} --add-config {setting}", quoted(topic))
    }

    /// Lists all topics.
    #[must_use]
    pub fn list_topics(&self) -> String {
        format!("{} --list", self.tool("kafka-topics.sh"))
    }

    /// Asks the brokers for the API versions that they support, which also shows whether they can be reached.
    #[must_use]
    pub fn ask_versions(&self) -> String {
        self.tool("kafka-broker-api-versions.sh")
    }

    /// Permits operations on a topic or a group.
    #[must_use]
    pub fn allow(&self, operations: &[&str], resource: Resource<'_>) -> String {
        let operations: String = operations.iter().map(|operation| format!(" --operation {operation}")).collect();
        let resource = match resource {
            Resource::Topic(topic) => format!("--topic {}", quoted(topic)),
            Resource::Group(group) => format!("--group {}", quoted(group)),
            Resource::TransactionalIds(prefix) => {
                format!("--transactional-id {} --resource-pattern-type prefixed", quoted(prefix))
            }
        };
        let principal = format!("User:{}", self.user);
        format!("{} --add --allow-principal {}{operations} {resource}", self.tool("kafka-acls.sh"), quoted(&principal))
    }

    /// Permits transactions with ids that begin so.
    #[must_use]
    pub fn allow_transactions(&self, prefix: &str) -> String {
        self.allow(&["Describe", "Write"], Resource::TransactionalIds(prefix))
    }

    /// Finds transactions that nobody will end any more.
    #[must_use]
    pub fn find_hanging_transactions(&self) -> String {
        format!("{} find-hanging --topic __consumer_offsets", self.tool("kafka-transactions.sh"))
    }

    /// Raises a topic's limit on the size of records.
    #[must_use]
    pub fn raise_limit(&self, topic: &str, bytes: usize) -> String {
        format!(
            "{} --alter --entity-type topics --entity-name {} --add-config max.message.bytes={bytes}",
            self.tool("kafka-configs.sh"),
            quoted(topic)
        )
    }

    /// Moves a group to an offset of a partition. Kafka rejects this while the group has members.
    #[must_use]
    pub fn move_group(&self, group: &str, partition: &TopicPartition, to: Offset) -> String {
        let place = format!("{}:{}", partition.topic, partition.partition);
        format!(
            "{} --group {} --topic {} --reset-offsets --to-offset {to} --execute",
            self.tool("kafka-consumer-groups.sh"),
            quoted(group),
            quoted(&place)
        )
    }

    /// How to leave a record out: by an order to the process if it stays, and by moving the group of one that is down.
    #[must_use]
    pub fn leave_out(&self, group: &str, partition: &TopicPartition, record: Offset) -> String {
        let moved = self.move_group(group, partition, Offset(record.0 + 1));
        match &self.pipeline {
            Some(pipeline) => {
                let order = skip(pipeline, partition, record);
                format!("while the process runs: {order}; or while it is down: {moved}")
            }
            None => format!("while the pipeline is down: {moved}"),
        }
    }

    /// Moves a group to the beginning of a topic.
    #[must_use]
    pub fn move_group_to_beginning(&self, group: &str, topic: &str) -> String {
        let tool = self.tool("kafka-consumer-groups.sh");
        format!("{tool} --group {} --topic {} --reset-offsets --to-earliest --execute", quoted(group), quoted(topic))
    }

    fn tool(&self, name: &str) -> String {
        let config = if self.is_secured { " --command-config client.properties" } else { "" };
        format!("{name} --bootstrap-server {}{config}", quoted(&self.brokers))
    }
}

/// Has a process leave out the record at which a pipeline has stopped, or that holds it.
#[must_use]
pub fn skip(pipeline: &str, TopicPartition { topic, partition }: &TopicPartition, record: Offset) -> String {
    let (pipeline, topic) = (quoted(pipeline), quoted(topic));
    format!("wasmill skip {pipeline} --topic {topic} --partition {partition} --offset {record}")
}

/// Quotes a word so that a shell takes it as a single argument.
#[must_use]
pub fn quoted(word: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.,:/@%+=".contains(c);
    if !word.is_empty() && (word.chars().all(is_plain) || word == "***") {
        Cow::Borrowed(word)
    } else {
        Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(is_secured: bool) -> Commands {
        Commands { brokers: "a:9092,b:9092".into(), user: "CN=me,O=us".into(), is_secured, pipeline: None }
    }

    #[test]
    fn a_command_names_the_brokers_and_where_needed_the_file_with_the_clients_settings() {
        assert_eq!(
            commands(false).create_topic("orders"),
            "kafka-topics.sh --bootstrap-server a:9092,b:9092 --create --topic orders --partitions 4"
        );
        let partition = TopicPartition { topic: "orders".into(), partition: 3 };
        let secured = commands(true);
        let all = [
            secured.create_topic("t"),
            secured.add_partitions("t", 4),
            secured.list_topics(),
            secured.ask_versions(),
            secured.allow(&["Read"], Resource::Topic("t")),
            secured.raise_limit("t", 9),
            secured.move_group("g", &partition, Offset(7)),
            secured.find_hanging_transactions(),
        ];
        for command in all {
            let (tool, rest) = command.split_once(' ').unwrap_or_default();
            assert!(tool.starts_with("kafka-") && tool.ends_with(".sh"), "{command}");
            assert!(
                rest.starts_with("--bootstrap-server a:9092,b:9092 --command-config client.properties"),
                "{command}"
            );
        }
        assert_eq!(
            commands(false).move_group("g", &partition, Offset(7)),
            "kafka-consumer-groups.sh --bootstrap-server a:9092,b:9092 --group g --topic orders:3 --reset-offsets \
             --to-offset 7 --execute"
        );
        assert_eq!(
            commands(false).allow(&["Describe", "Write"], Resource::Group("it's $HOME; rm *")),
            "kafka-acls.sh --bootstrap-server a:9092,b:9092 --add --allow-principal User:CN=me,O=us --operation Describe \
             --operation Write --group 'it'\\''s $HOME; rm *'"
        );
    }

    #[test]
    fn each_topic_of_an_input_gets_its_own_command() {
        let commands = Commands::plain("a:9092");
        let mut input = Settings::example().input;
        input.topics = vec!["orders".into(), "^x.*".into(), "returns".into()];
        input.group = "g".into();
        let grant =
            |topic: &str| format!("grant it: {}", commands.allow(&["Describe", "Read"], Resource::Topic(topic)));
        let denied = commands.remedy_input("TOPIC_AUTHORIZATION_FAILED", &input);
        assert_eq!(denied, format!("{}; {}", grant("orders"), grant("returns")));
        let denied = commands.remedy_input("GROUP_AUTHORIZATION_FAILED", &input);
        assert_eq!(denied, commands.remedy("GROUP_AUTHORIZATION_FAILED", "group", "g"));
        input.topics = vec!["^x.*".into()];
        let denied = commands.remedy_input("TOPIC_AUTHORIZATION_FAILED", &input);
        assert!(!denied.contains("--topic") && denied.contains("`^x.*`"), "{denied}");
    }

    #[test]
    fn a_shell_takes_a_quoted_name_as_one_word() {
        for word in ["plain-1.2_3", "two words", "it's", "$(id)", "`id`", "a;b", "*", "", "a\nb", "\"", "\\"] {
            let command = format!("printf %s {}", quoted(word));
            let output = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
    }
}
