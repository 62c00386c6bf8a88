//! PURE. What librdkafka carries with a message, to tell which record and output it belongs to.

use super::settings::OUTPUTS_MAX;
use crate::record::Seq;

/// The record that caused a message, and which of its outputs the message is. Packed into the 64 bits that librdkafka
/// carries with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// What it is.
    pub kind: TagKind,
    /// The record.
    pub seq: Seq,
}

/// The kind of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagKind {
    /// An output of a step: the index of the output in the file, or that of a topic that a record named, which come after all
    /// others; below [`OUTPUTS_MAX`]. The topic doesn't identify it, since several outputs may have the same topic.
    Output(usize),
    /// A dead letter.
    DeadLetter,
}

/// The data that librdkafka carries with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opaque {
    Of(Tag),
    /// A copy of an undelivered output, sent to find out whether its topic accepts it now. It belongs to no record.
    Sample {
        output: usize,
    },
}

const OUTPUT_BITS: u32 = 10;
const _: () = assert!(OUTPUT_BITS + Seq::BITS == u64::BITS);
/// Marks a dead letter, in the bits of an output's index.
const DEAD_LETTER: u64 = (1 << OUTPUT_BITS) - 1;
/// Marks a sample in the same bits. The index of its output is in the bits of a record.
const SAMPLE: u64 = DEAD_LETTER - 1;
const _: () = assert!((OUTPUTS_MAX as u64) < SAMPLE);

impl Opaque {
    pub(super) fn pack(self) -> u64 {
        let (output, rest) = match self {
            Opaque::Of(Tag { kind: TagKind::Output(output), seq }) => (output.min(OUTPUTS_MAX) as u64, seq.to_bits()),
            Opaque::Of(Tag { kind: TagKind::DeadLetter, seq }) => (DEAD_LETTER, seq.to_bits()),
            Opaque::Sample { output } => (SAMPLE, output as u64),
        };
        output << Seq::BITS | rest
    }

    pub(super) fn unpack(packed: u64) -> Opaque {
        let rest = packed & ((1 << Seq::BITS) - 1);
        let place = |bits: u64| usize::try_from(bits).unwrap_or(OUTPUTS_MAX);
        let kind = match packed >> Seq::BITS {
            DEAD_LETTER => TagKind::DeadLetter,
            SAMPLE => return Opaque::Sample { output: place(rest) },
            output => TagKind::Output(place(output)),
        };
        Opaque::Of(Tag { kind, seq: Seq::from_bits(rest) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::AssignmentId;
    use crate::record::AssignmentIds;

    const END: usize = 1 << 36;
    const _: () = assert!(END as u64 == Seq::END);

    /// The first and the last of all possible assignment ids.
    fn assignments() -> [AssignmentId; 3] {
        let mut ids = AssignmentIds::default();
        let all: Vec<AssignmentId> = (0..1 << 18).map(|_| ids.issue(|_| false)).collect();
        assert_eq!(ids.issue(|_| false), all[0], "they come again");
        [all[0], all[1], all[all.len() - 1]]
    }

    #[test]
    fn a_tag_packs_and_unpacks_at_the_limits_of_its_numbers() {
        for assignment in assignments() {
            for kind in [TagKind::Output(0), TagKind::Output(1), TagKind::Output(OUTPUTS_MAX - 1), TagKind::DeadLetter]
            {
                for n in [0, 1, END - 1] {
                    let opaque = Opaque::Of(Tag { kind, seq: Seq::first_of(assignment).plus(n) });
                    assert_eq!(Opaque::unpack(opaque.pack()), opaque);
                }
            }
        }
        let sample = Opaque::Sample { output: OUTPUTS_MAX - 1 };
        assert_eq!(Opaque::unpack(sample.pack()), sample);
    }
}
