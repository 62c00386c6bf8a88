//! Maps Kafka's error codes to classes of failures.
//!
//! The codes that need special handling are listed here by name. Every other code is treated as temporary, because a
//! retry loses nothing.

use super::Commands;
use super::Settings;
use super::sys::Code;
use crate::failure::Failure;
use crate::failure::Kind;

/// The error codes of librdkafka and of brokers that need special handling.
pub(crate) mod code {
    use crate::kafka::sys::Code;

    /// The queue of produced messages is full.
    pub(crate) const QUEUE_FULL: Code = Code(-184);
    /// Dropped because the producer purged its messages.
    pub(crate) const PURGE_QUEUE: Code = Code(-152);
    pub(crate) const PURGE_INFLIGHT: Code = Code(-151);
    /// The call is not allowed now, such as producing in a transaction that has failed.
    pub(crate) const STATE: Code = Code(-172);
    /// This user may not use the `transactional.id`.
    pub(crate) const TRANSACTIONAL_ID_DENIED: Code = Code(53);
    /// The client can't be used any more.
    pub(crate) const FATAL: Code = Code(-150);
    /// The offset to read from, committed or current, no longer exists.
    pub(crate) const AUTO_OFFSET_RESET: Code = Code(-140);
    /// Fetched data can't be read and is skipped: its checksum, compression or format is wrong.
    pub(crate) const BAD_MESSAGE: Code = Code(-199);
    pub(crate) const BAD_COMPRESSION: Code = Code(-198);
    pub(crate) const NOT_IMPLEMENTED: Code = Code(-170);
    pub(crate) const ASSIGN_PARTITIONS: Code = Code(-175);
    pub(crate) const REVOKE_PARTITIONS: Code = Code(-174);
    /// The broker's certificate is invalid, or the broker rejects the client's.
    pub(crate) const SSL: Code = Code(-181);
    /// The broker refuses user or password.
    pub(crate) const AUTHENTICATION: Code = Code(-169);
    pub(crate) const SASL_AUTHENTICATION_FAILED: Code = Code(58);
    /// No broker can be reached.
    pub(crate) const ALL_BROKERS_DOWN: Code = Code(-187);
    /// There is no stored offset to commit.
    pub(crate) const NO_OFFSET: Code = Code(-168);
    /// The topic doesn't exist, according to librdkafka; the broker's code is [`UNKNOWN_TOPIC_OR_PART`].
    pub(crate) const UNKNOWN_TOPIC: Code = Code(-188);
    pub(crate) const UNKNOWN_PARTITION: Code = Code(-190);
    pub(crate) const TIMED_OUT: Code = Code(-185);
    pub(crate) const TRANSPORT: Code = Code(-195);
    pub(crate) const UNKNOWN_TOPIC_OR_PART: Code = Code(3);
    pub(crate) const INVALID_TOPIC: Code = Code(17);
    pub(crate) const TOPIC_AUTHORIZATION_FAILED: Code = Code(29);
    pub(crate) const TOPIC_ALREADY_EXISTS: Code = Code(36);
    pub(crate) const GROUP_AUTHORIZATION_FAILED: Code = Code(30);
    pub(crate) const GROUP_ID_NOT_FOUND: Code = Code(69);
    /// The topic doesn't accept a message of this size. Reported by the broker, or by librdkafka before it sends the
    /// message.
    pub(crate) const MESSAGE_TOO_LARGE: Code = Code(10);
    /// The topic doesn't accept a batch of this size, because it is larger than a whole segment of the log.
    pub(crate) const RECORD_LIST_TOO_LARGE: Code = Code(18);
    /// The topic doesn't accept records with this timestamp.
    pub(crate) const INVALID_TIMESTAMP: Code = Code(32);
    /// A delivery failed, so the messages queued behind it are not sent.
    pub(crate) const GAPLESS_GUARANTEE: Code = Code(-148);
    /// The broker refused another record of the same request.
    pub(crate) const INVALID_DIFFERENT_RECORD: Code = Code(-138);
}

/// Codes with which a broker, or librdkafka before sending, rejects a single record.
const REFUSED: [i32; 6] = [
    18,   // RECORD_LIST_TOO_LARGE
    32,   // INVALID_TIMESTAMP
    87,   // INVALID_RECORD
    -186, // an argument that no broker would take
    -190, // the partition that the plugin named doesn't exist
    -199, // BAD_MSG
];

/// Codes that need action by an operator.
const DENIED: [i32; 10] = [
    3,    // UNKNOWN_TOPIC_OR_PART
    17,   // INVALID_TOPIC
    29,   // TOPIC_AUTHORIZATION_FAILED
    30,   // GROUP_AUTHORIZATION_FAILED
    31,   // CLUSTER_AUTHORIZATION_FAILED
    44,   // POLICY_VIOLATION
    56,   // KAFKA_STORAGE_ERROR
    76,   // UNSUPPORTED_COMPRESSION_TYPE
    -188, // UNKNOWN_TOPIC
    -169, // AUTHENTICATION
];

/// Whether an operator must act.
pub(crate) fn is_denied(code: Code) -> bool {
    DENIED.contains(&code.0)
}

/// The failure of a record whose output was rejected or could not be delivered.
pub(crate) fn delivery(code: Code, text: &str, topic: &str) -> Failure {
    let kind = if code == code::MESSAGE_TOO_LARGE {
        Kind::TooLarge
    } else if code == code::INVALID_DIFFERENT_RECORD {
        Kind::BatchAborted
    } else if REFUSED.contains(&code.0) {
        Kind::Refused
    } else if is_denied(code) {
        Kind::Denied
    } else {
        Kind::Broker
    };
    let more = if code == code::INVALID_TIMESTAMP {
        "; `message.timestamp.before.max.ms` and `message.timestamp.after.max.ms` of the topic say how far a record's time may be from \
         the broker's"
    } else {
        ""
    };
    Failure {
        code: code.name().to_lowercase().into(),
        ..Failure::new(kind, None, format!("an output to `{topic}`: {text}{more}"))
    }
}

/// Codes with which a topic is denied that a record names: the record fails, and not the pipeline.
const OF_NAMED: [Code; 4] =
    [code::UNKNOWN_TOPIC_OR_PART, code::INVALID_TOPIC, code::TOPIC_AUTHORIZATION_FAILED, code::UNKNOWN_TOPIC];

/// The failure of an output to a topic that its record named. A topic that doesn't exist, or may not be written, is the record's
/// own: it is refused, with the command that would help. Any other failure stays what it is.
#[must_use]
pub fn of_named(failure: Failure, topic: &str, settings: &Settings) -> Failure {
    let is_own = OF_NAMED.iter().any(|code| *failure.code == *code.name().to_lowercase());
    if failure.kind != Kind::Denied || !is_own {
        return failure;
    }
    let command = Commands::of(settings).remedy(&failure.code, "output", topic);
    Failure { kind: Kind::Refused, reason: format!("{}; {command}", failure.reason), ..failure }
}

/// Whether a topic doesn't accept a record's timestamp.
pub(crate) fn is_about_time(failure: &Failure) -> bool {
    *failure.code == *code::INVALID_TIMESTAMP.name().to_lowercase()
}

/// Whether a batch was too large.
pub(crate) fn is_about_size(failure: &Failure) -> bool {
    failure.kind == Kind::TooLarge || *failure.code == *code::RECORD_LIST_TOO_LARGE.name().to_lowercase()
}

/// Whether a broker's error for a batch applies to each message that carries this failure. It does if the message was
/// alone in the batch, or if other messages carry `BatchAborted`, which means that the broker named the bad ones.
/// Failures that are not about a single record always apply.
pub(crate) fn is_verdict(kind: Kind, batch: &[Kind]) -> bool {
    !matches!(kind, Kind::Refused | Kind::TooLarge) || batch.len() == 1 || batch.contains(&Kind::BatchAborted)
}

/// The failure of a record whose output was queued and then not delivered.
pub(crate) fn report(code: Code, text: &str, topic: &str) -> Failure {
    let failure = delivery(code, text, topic);
    // The topic was unknown when the message was queued, or has been deleted since. Sending it again shows which,
    // because `produce` then answers at once.
    if code == code::UNKNOWN_PARTITION { Failure { kind: Kind::BatchAborted, ..failure } } else { failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_error_applies_to_a_record_that_is_alone_or_named_by_the_broker() {
        use Kind::BatchAborted;
        use Kind::Denied;
        use Kind::Refused;
        use Kind::TooLarge;
        for kind in [Refused, TooLarge] {
            assert!(is_verdict(kind, &[kind]));
            assert!(!is_verdict(kind, &[kind; 2]));
            assert!(is_verdict(kind, &[BatchAborted, kind, BatchAborted]));
            assert!(is_verdict(kind, &[kind, BatchAborted, kind]));
        }
        assert!(is_verdict(BatchAborted, &[BatchAborted, Refused]));
        assert!(is_verdict(Denied, &[Denied; 3]));
    }

    #[test]
    fn a_rejected_timestamp_names_the_settings_that_bound_it() {
        let failure = delivery(code::INVALID_TIMESTAMP, "Broker: Invalid timestamp", "out");
        assert!(is_about_time(&failure) && failure.kind == Kind::Refused);
        assert!(failure.reason.contains("`out`") && failure.reason.contains("message.timestamp.after.max.ms"));
        assert!(!is_about_time(&delivery(Code(87), "", "out")));
    }

    #[test]
    fn a_topic_that_a_record_names_and_the_cluster_lacks_is_the_records_failure_and_nothing_else_is() {
        let settings = Settings::example();
        for code in OF_NAMED {
            let failure = of_named(delivery(code, "no", "rows.eu"), "rows.eu", &settings);
            assert_eq!(failure.kind, Kind::Refused, "{code:?}");
            assert!(failure.reason.contains("`rows.eu`"), "{failure:?}");
        }
        let missing = of_named(delivery(Code(3), "no", "rows.eu"), "rows.eu", &settings);
        assert!(missing.reason.contains("; create it: ") && missing.reason.contains("--topic rows.eu"), "{missing:?}");
        for code in [Code(-169), Code(44), Code(7)] {
            let failure = delivery(code, "no", "rows.eu");
            assert_eq!(of_named(failure.clone(), "rows.eu", &settings), failure);
        }
    }

    #[test]
    fn a_codec_that_brokers_do_not_know_is_not_the_records_fault() {
        assert_eq!(delivery(Code(76), "", "out").kind, Kind::Denied);
    }
}
