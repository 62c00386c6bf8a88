//! Every way in which an outcome can violate the contract, each refused with its own message.

use std::fmt::Write as _;

use wasmill::failure::Kind;

use crate::component::batch;
use crate::component::forms;
use crate::component::load;
use crate::component::settings;
use crate::records;

/// An outcome of three records, as a guest would return it.
#[derive(Clone)]
struct Guest {
    counts: Vec<u32>,
    ports: Vec<u32>,
    partitions: Vec<i32>,
    timestamps: Vec<i64>,
    layout: Vec<i32>,
    data: Vec<u8>,
    failures: Vec<u32>,
}

/// Two outputs of record 0, the second with a header; record 1 is dropped, record 2 fails.
fn legal() -> Guest {
    Guest {
        counts: vec![2, 0, 0],
        ports: vec![0, 1],
        partitions: vec![-1, 3],
        timestamps: vec![-1, 99],
        layout: vec![-2, 1, -2, 1, -1, 1, 1, -1],
        data: b"vkh".to_vec(),
        failures: vec![2],
    }
}

impl Guest {
    /// A plugin that returns exactly this outcome.
    fn core(&self) -> Vec<u8> {
        let mut at = 1024_u32;
        let mut segments = String::new();
        let mut result = vec![0_u8; 4];
        let mut place = |bytes: Vec<u8>, count: usize| {
            at = at.next_multiple_of(8);
            let text: String = bytes.iter().fold(String::new(), |mut text, byte| {
                write!(text, "\\{byte:02x}").unwrap();
                text
            });
            writeln!(segments, "(data (i32.const {at}) \"{text}\")").unwrap();
            result.extend(at.to_le_bytes());
            result.extend(u32::try_from(count).unwrap().to_le_bytes());
            at += u32::try_from(bytes.len()).unwrap();
        };
        place(self.counts.iter().flat_map(|n| n.to_le_bytes()).collect(), self.counts.len());
        place(self.ports.iter().flat_map(|n| n.to_le_bytes()).collect(), self.ports.len());
        place(self.partitions.iter().flat_map(|n| n.to_le_bytes()).collect(), self.partitions.len());
        place(self.timestamps.iter().flat_map(|n| n.to_le_bytes()).collect(), self.timestamps.len());
        place(self.layout.iter().flat_map(|n| n.to_le_bytes()).collect(), self.layout.len());
        place(self.data.clone(), self.data.len());
        // A reject with an empty code and reason.
        let failures = self.failures.iter().flat_map(|index| {
            let mut failed = [0_u8; 24];
            failed[..4].copy_from_slice(&index.to_le_bytes());
            failed[4] = 1;
            failed
        });
        place(failures.collect(), self.failures.len());
        assert!(at < 65536, "a fixture's data lies below the allocator's");
        let result: String = result.iter().map(|byte| format!("\\{byte:02x}")).collect();
        batch(&format!("{segments} (data (i32.const 64) \"{result}\") (func $process (type $process) (i32.const 64))"))
    }
}

fn refusal(change: impl FnOnce(&mut Guest)) -> String {
    let mut guest = legal();
    change(&mut guest);
    let [module, component] = forms(&guest.core()).map(|bytes| {
        let step = load(&bytes, settings()).unwrap();
        let failure = step.instantiate().unwrap().process(&records(0).view()).unwrap_err();
        assert_eq!(failure.kind, Kind::BadOutput, "{failure}");
        assert_eq!(&*failure.code, "bad-output");
        failure.reason
    });
    assert_eq!(module, component);
    module
}

#[test]
fn the_original_outcome_is_valid() {
    let step = load(&legal().core(), settings()).unwrap();
    let batch = records(0);
    let outcome = step.instantiate().unwrap().process(&batch.view()).unwrap();
    let second = outcome.outputs.resolve(1, &batch, 0);
    assert_eq!((second.parent, second.port, second.partition, second.timestamp), (0, 1, Some(3), 99));
    assert_eq!((second.key, second.value), (Some(&b"k"[..]), None));
    let header = second.headers.iter().next().unwrap();
    assert_eq!((header.name, header.value), (&b"h"[..], None));
    let first = outcome.outputs.resolve(0, &batch, 0);
    assert_eq!((first.key, first.value, first.timestamp), (Some(&b"k1"[..]), Some(&b"v"[..]), 1000));
    assert_eq!(first.headers.len(), 2);
    assert_eq!(outcome.failed[0].index, 2);
}

/// The messages are compared completely: each must be specific, and must contain the position and the numbers.
#[test]
fn each_malformed_outcome_has_its_own_message() {
    type Change = fn(&mut Guest);
    let cases: [(Change, &str); 29] = [
        (|g| g.counts = vec![2, 0], "`counts` has 2 entries for 3 records"),
        (|g| g.counts = vec![2, 0, 0, 0], "`counts` has 4 entries for 3 records"),
        (|g| g.counts = vec![u32::MAX, u32::MAX, 0], "8589934590 outputs in one call, where 1000000 are allowed"),
        (|g| g.ports = vec![0], "`ports` has 1 entries for 2 outputs, and is not empty"),
        (|g| g.partitions = vec![0; 3], "`partitions` has 3 entries for 2 outputs, and is not empty"),
        (|g| g.timestamps = vec![0], "`timestamps` has 1 entries for 2 outputs, and is not empty"),
        (|g| g.ports[1] = 2, "output 1 names port 2, but there are 2 ports"),
        (|g| g.partitions[1] = -2, "output 1 names partition -2"),
        (|g| g.timestamps[0] = -2, "output 0 has the timestamp -2"),
        (|g| g.layout.truncate(5), "`layout` ends inside output 1"),
        (|g| g.layout.truncate(7), "output 1 has 1 headers, more than `layout` holds"),
        (|g| g.layout.push(0), "`layout` has 1 entries left over"),
        (|g| g.data.push(0), "`data` has 1 bytes left over"),
        (|g| g.layout[0] = -3, "output 0 has a key of length -3"),
        (|g| g.layout[1] = i32::MIN, "output 0 has a value of length -2147483648"),
        (|g| g.layout[5] = -1, "output 1 has -1 headers"),
        (|g| g.layout[5] = -3, "output 1 has -3 headers"),
        (|g| g.layout[5] = i32::MAX, "output 1 has 2147483647 headers, more than `layout` holds"),
        (|g| g.layout[6] = -1, "output 1, header 0 has a name of length -1"),
        (|g| g.layout[6] = -2, "output 1, header 0 has a name of length -2"),
        (|g| g.layout[7] = -2, "output 1, header 0 has a value of length -2"),
        (|g| g.layout[0] = 3, "output 0 ends at byte 4, but `data` has 3"),
        (|g| g.layout[1] = i32::MAX, "output 0 ends at byte 2147483647, but `data` has 3"),
        (|g| g.layout[7] = 1, "output 1 ends at byte 4, but `data` has 3"),
        (|g| g.data.clear(), "output 0 ends at byte 1, but `data` has 0"),
        (|g| g.failures = vec![3], "failure of record 3, but there are 3 records"),
        (|g| g.failures = vec![2, 1], "failure of record 1 is not in ascending order"),
        (|g| g.failures = vec![2, 2], "failure of record 2 is not in ascending order"),
        (|g| g.failures = vec![0], "record 0 failed, but has 2 outputs"),
    ];
    for (change, message) in cases {
        assert_eq!(refusal(change), message);
    }
}

#[test]
fn references_count_with_the_size_of_their_target() {
    let mut batch = wasmill::batch::Batch::new(wasmill::record::TopicPartition { topic: "t".into(), partition: 0 });
    batch.push(0, -1, 0, None, Some(&vec![b'x'; 1 << 20]), std::iter::empty());
    let bomb = crate::component::batch(
        "(func $process (type $process)
           (call $outcome (call $array (i32.const 1) (i32.const 65)) (i32.const 1)
             (call $array (i32.const 195) (i32.const -2)) (i32.const 195) (i32.const 0) (i32.const 0)))",
    );
    let failure = load(&bomb, settings()).unwrap().instantiate().unwrap().process(&batch.view()).unwrap_err();
    assert_eq!(failure.kind, Kind::BadOutput);
    assert!(failure.reason.starts_with("the outputs have 68157440 bytes, counting"), "{failure}");
}
