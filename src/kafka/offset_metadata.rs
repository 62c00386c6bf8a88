//! The metadata string that is committed with an offset. PURE.
//!
//! Kafka stores a string with each committed offset and returns it with the offset. A note of wasmill is [`VERSION`],
//! followed by fields `name=value`, each after a space. Unknown fields and values that can't be parsed are ignored. A
//! string of another program gives a note without fields. The note carries the topic's id, because a topic that was
//! deleted and created again has the same name but other records at the same offsets. Invariant: parsing never fails.

use std::fmt;
use std::str::FromStr;

/// How each note begins.
const VERSION: &str = "wasmill/1";

/// The metadata that is committed with an offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetMetadata {
    /// The topic that the offset belongs to.
    pub topic: Option<TopicId>,
    /// The breaker's counts for the records below the offset, which a restart continues; opaque text of the partition's
    /// state, or empty.
    pub counts: String,
    /// In a dead-letter topic: which records above the offset were replayed; opaque text of `dlq`, or empty.
    pub replayed: String,
}

impl OffsetMetadata {
    /// Parses a string that a broker returned.
    #[must_use]
    pub fn parse(text: &str) -> OffsetMetadata {
        let mut note = OffsetMetadata::default();
        let mut words = text.split(' ');
        if words.next() != Some(VERSION) {
            return note;
        }
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            match name {
                "topic" => note.topic = value.parse().ok(),
                "counts" => value.clone_into(&mut note.counts),
                "replayed" => value.clone_into(&mut note.replayed),
                _ => {}
            }
        }
        note
    }
}

impl fmt::Display for OffsetMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(VERSION)?;
        if let Some(topic) = self.topic {
            write!(f, " topic={topic}")?;
        }
        if !self.counts.is_empty() {
            write!(f, " counts={}", self.counts)?;
        }
        if !self.replayed.is_empty() {
            write!(f, " replayed={}", self.replayed)?;
        }
        Ok(())
    }
}

/// A topic's id. Kafka never uses one twice. Formatted as `kafka-topics.sh --describe` prints it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(u128);

/// The alphabet of URL-safe base64.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// The length of an id in base64. The last digit holds two bits of the id and four zeros.
const LENGTH: usize = 22;

impl TopicId {
    /// The id with these 128 bits; `None` for 0, which brokers without topic ids send.
    #[must_use]
    pub fn new(bits: u128) -> Option<TopicId> {
        (bits != 0).then_some(TopicId(bits))
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in 0..LENGTH {
            let digit = match place {
                21 => self.0 << 4,
                _ => self.0 >> (122 - 6 * place),
            };
            let [digit, ..] = (digit & 63).to_le_bytes();
            write!(f, "{}", char::from(DIGITS[usize::from(digit)]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TopicId {
    type Err = ();

    fn from_str(text: &str) -> Result<TopicId, ()> {
        if text.len() != LENGTH {
            return Err(());
        }
        let mut bits = 0_u128;
        for (place, byte) in text.bytes().enumerate() {
            let digit = DIGITS.iter().position(|&digit| digit == byte).ok_or(())? as u128;
            bits = match place {
                21 if digit & 15 != 0 => return Err(()),
                21 => bits << 2 | digit >> 4,
                _ => bits << 6 | digit,
            };
        }
        TopicId::new(bits).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::any;
    use proptest::proptest;

    use super::*;

    #[test]
    fn an_id_is_formatted_as_kafka_formats_it() {
        // java.util.UUID of these bits, as org.apache.kafka.common.Uuid.
        let id = TopicId::new(0x0123_4567_89ab_cdef_fedc_ba98_7654_3210).unwrap();
        assert_eq!(id.to_string(), "ASNFZ4mrze_-3LqYdlQyEA");
        assert_eq!("ASNFZ4mrze_-3LqYdlQyEA".parse(), Ok(id));
        assert_eq!(TopicId::new(0), None);
        for wrong in
            ["", "ASNFZ4mrze_-3LqYdlQyE", "ASNFZ4mrze_-3LqYdlQyEB", "ASNFZ4mrze/-3LqYdlQyEA", "AAAAAAAAAAAAAAAAAAAAAA"]
        {
            assert_eq!(wrong.parse::<TopicId>(), Err(()), "{wrong}");
        }
    }

    #[test]
    fn other_programs_metadata_gives_an_empty_note_and_unknown_fields_are_ignored() {
        for text in
            ["", "x", "wasmill/2 topic=ASNFZ4mrze_-3LqYdlQyEA", "wasmill/1", "wasmill/1 topic=x", "wasmill/1 later=1"]
        {
            assert_eq!(OffsetMetadata::parse(text), OffsetMetadata::default(), "{text}");
        }
        let topic = "ASNFZ4mrze_-3LqYdlQyEA".parse().ok();
        assert_eq!(
            OffsetMetadata::parse("wasmill/1 later=1 topic=ASNFZ4mrze_-3LqYdlQyEA more"),
            OffsetMetadata { topic, ..OffsetMetadata::default() }
        );
    }

    proptest! {
        #[test]
        fn a_formatted_note_parses_back_to_itself(
            bits in any::<u128>(),
            counts in "[0-9a-f.]{0,90}",
            replayed in "[-_0-9a-zA-Z]{0,90}",
        ) {
            let note = OffsetMetadata { topic: TopicId::new(bits), counts, replayed };
            proptest::prop_assert_eq!(OffsetMetadata::parse(&note.to_string()), note);
        }

        #[test]
        fn parsing_never_fails(text in ".{0,60}") {
            for text in [text.clone(), format!("{VERSION} topic={text}")] {
                let note = OffsetMetadata::parse(&text);
                proptest::prop_assert_eq!(OffsetMetadata::parse(&note.to_string()), note);
            }
        }
    }
}
