//! The JSON edit as a native closure, built with the release profile of this workspace: fat LTO, one codegen unit.
//!
//! It represents an optimized native build, next to the one with cargo's default profile. Prints the nanoseconds per record.
#![expect(clippy::unwrap_used, reason = "a benchmark stops at whatever is wrong")]
#![expect(clippy::print_stdout, reason = "the figure is its output")]

use std::hint::black_box;
use std::time::Duration;
use std::time::Instant;

const RECORDS: u32 = 128;
const TIME: Duration = Duration::from_millis(150);

fn main() {
    let values: Vec<String> = (0..RECORDS).map(|n| native::document(n as usize)).collect();
    let header = [(&b"trace"[..], Some(&b"0123456789abcdef012"[..]))];
    let begun = Instant::now();
    let mut records = 0.0;
    while begun.elapsed() < TIME {
        for _ in 0..8 {
            let outputs: Vec<_> = values
                .iter()
                .flat_map(|value| {
                    let input =
                        native::Input { key: Some(b"key00000"), value: Some(value.as_bytes()), headers: &header };
                    black_box(native::json as native::Closure)(input).unwrap()
                })
                .collect();
            black_box(outputs);
            records += f64::from(RECORDS);
        }
    }
    println!("{}", begun.elapsed().as_secs_f64() * 1e9 / records);
}
