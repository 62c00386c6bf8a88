//! What an error code of Kafka's means for us.
//!
//! The codes we act on stand here by name; every other one is taken as something that mends itself, since waiting loses nothing.

use super::sys::Code;
use crate::failure::Failure;
use crate::failure::Kind;

/// librdkafka's own codes that are acted on, and the broker's.
pub(crate) mod code {
    use crate::kafka::sys::Code;

    /// The queue of produced messages is full.
    pub(crate) const QUEUE_FULL: Code = Code(-184);
    /// Thrown away by a purge of ours.
    pub(crate) const PURGE_QUEUE: Code = Code(-152);
    pub(crate) const PURGE_INFLIGHT: Code = Code(-151);
    /// The client can't be used any more.
    pub(crate) const FATAL: Code = Code(-150);
    /// The committed offset, or the position, is gone.
    pub(crate) const AUTO_OFFSET_RESET: Code = Code(-140);
    /// What was fetched can't be read, and is left out: a wrong checksum, compression or format.
    pub(crate) const BAD_MESSAGE: Code = Code(-199);
    pub(crate) const BAD_COMPRESSION: Code = Code(-198);
    pub(crate) const NOT_IMPLEMENTED: Code = Code(-170);
    pub(crate) const ASSIGN_PARTITIONS: Code = Code(-175);
    pub(crate) const REVOKE_PARTITIONS: Code = Code(-174);
    /// The broker's certificate, or its refusal of ours.
    pub(crate) const SSL: Code = Code(-181);
    /// The broker refuses user or password.
    pub(crate) const AUTHENTICATION: Code = Code(-169);
    pub(crate) const SASL_AUTHENTICATION_FAILED: Code = Code(58);
    /// No broker answers.
    pub(crate) const ALL_BROKERS_DOWN: Code = Code(-187);
    /// Nothing is stored that wasn't committed.
    pub(crate) const NO_OFFSET: Code = Code(-168);
    /// The topic doesn't exist: librdkafka's words and the broker's.
    pub(crate) const UNKNOWN_TOPIC: Code = Code(-188);
    pub(crate) const UNKNOWN_PARTITION: Code = Code(-190);
    pub(crate) const TIMED_OUT: Code = Code(-185);
    pub(crate) const TRANSPORT: Code = Code(-195);
    pub(crate) const UNKNOWN_TOPIC_OR_PART: Code = Code(3);
    pub(crate) const TOPIC_AUTHORIZATION_FAILED: Code = Code(29);
    pub(crate) const GROUP_AUTHORIZATION_FAILED: Code = Code(30);
    pub(crate) const GROUP_ID_NOT_FOUND: Code = Code(69);
    /// The topic doesn't take a message of this size: the broker's word, and librdkafka's before it sends one.
    pub(crate) const MESSAGE_TOO_LARGE: Code = Code(10);
    /// The topic doesn't take a batch of this size, as it is more than a whole segment of its log.
    pub(crate) const RECORD_LIST_TOO_LARGE: Code = Code(18);
    /// The topic doesn't take records of this time.
    pub(crate) const INVALID_TIMESTAMP: Code = Code(32);
    /// A delivery failed, and what was queued behind it isn't sent.
    pub(crate) const GAPLESS_GUARANTEE: Code = Code(-148);
    /// The broker refused another record of the same request.
    pub(crate) const INVALID_DIFFERENT_RECORD: Code = Code(-138);
}

/// Codes by which a broker, or librdkafka before it, refuses one record.
const REFUSED: [i32; 6] = [
    18,   // RECORD_LIST_TOO_LARGE
    32,   // INVALID_TIMESTAMP
    87,   // INVALID_RECORD
    -186, // an argument that no broker would take
    -190, // the partition that the plugin named doesn't exist
    -199, // BAD_MSG
];

/// Codes for which a person must act.
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

/// Whether a person must act.
pub(crate) fn is_denied(code: Code) -> bool {
    DENIED.contains(&code.0)
}

/// The failure of a record whose output was refused or couldn't be delivered.
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

/// Whether a topic doesn't take a record's time.
pub(crate) fn is_about_time(failure: &Failure) -> bool {
    *failure.code == *code::INVALID_TIMESTAMP.name().to_lowercase()
}

/// Whether a batch had too many bytes.
pub(crate) fn is_about_size(failure: &Failure) -> bool {
    failure.kind == Kind::TooLarge || *failure.code == *code::RECORD_LIST_TOO_LARGE.name().to_lowercase()
}

/// Whether what a broker said of a batch is said of each message that has this failure. It is if the message was alone, and if others
/// are told that they were merely beside it. Failures that are no record's are always what they are.
pub(crate) fn is_verdict(kind: Kind, batch: &[Kind]) -> bool {
    !matches!(kind, Kind::Refused | Kind::TooLarge) || batch.len() == 1 || batch.contains(&Kind::BatchAborted)
}

/// The failure of a record whose output was queued and then not delivered.
pub(crate) fn report(code: Code, text: &str, topic: &str) -> Failure {
    let failure = delivery(code, text, topic);
    // The topic was not known when it was queued, or is gone. Sending it again tells which, as the answer comes at once then.
    if code == code::UNKNOWN_PARTITION { Failure { kind: Kind::BatchAborted, ..failure } } else { failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_batch_is_said_of_a_record_that_is_alone_or_named() {
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
    fn a_refused_time_names_the_settings_that_bound_it() {
        let failure = delivery(code::INVALID_TIMESTAMP, "Broker: Invalid timestamp", "out");
        assert!(is_about_time(&failure) && failure.kind == Kind::Refused);
        assert!(failure.reason.contains("`out`") && failure.reason.contains("message.timestamp.after.max.ms"));
        assert!(!is_about_time(&delivery(Code(87), "", "out")));
    }

    #[test]
    fn a_codec_that_brokers_do_not_know_is_no_records_fault() {
        assert_eq!(delivery(Code(76), "", "out").kind, Kind::Denied);
    }
}
