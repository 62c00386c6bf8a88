//! What the boundary to a plugin costs, against native closures with owned outputs in the same process.
//!
//! `boundary PLUGINS CAREFUL [PLUGIN]`, with a folder of the benchmarks' plugins in that of the others: for each task (or those of one plugin) and batch size five
//! alternating pairs, with the median and the spread of their ratio. Both sides read the same batch, and the bytes of every output are looked up.
#![expect(clippy::unwrap_used, reason = "a benchmark stops at whatever is wrong")]
#![expect(clippy::print_stdout, reason = "the figures are its output")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

mod native;

use std::hint::black_box;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use wasmill::batch::Batch;
use wasmill::plugin::Compiler;
use wasmill::plugin::Engine;
use wasmill::plugin::Instance;
use wasmill::plugin::Settings;
use wasmill::plugin::Step;
use wasmill::record::Header;
use wasmill::record::TopicPartition;

use native::Closure;
use native::Input;

/// As in the program itself.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const PAIRS: usize = 5;
/// How long one side of a pair runs.
const SIDE: Duration = Duration::from_millis(400);
const SIZES: [usize; 3] = [1, 16, 128];

/// What is measured.
struct Task {
    name: &'static str,
    /// The plugin's file in the folder, without its ending, and its settings.
    plugin: &'static str,
    settings: &'static str,
    /// The closure that does the same.
    twin: Closure,
    /// The closure that it is measured against.
    against: Closure,
    /// The ratio to stay under at the largest batch.
    goal: Option<f64>,
}

const fn task(
    name: &'static str,
    plugin: &'static str,
    settings: &'static str,
    twins: [Closure; 2],
    goal: Option<f64>,
) -> Task {
    let [twin, against] = twins;
    Task { name, plugin, settings, twin, against, goal }
}

const TASKS: [Task; 7] = [
    task("identity, copied", "copy", "", [native::copy, native::copy], Some(0.5)),
    task("identity, forwarded", "forward", "", [native::copy, native::copy], Some(0.3)),
    // All that can be done without a copy is measured against the identity.
    task("filter of 50 %", "filter", "", [native::filter, native::copy], Some(0.25)),
    task("JSON edit", "json", "", [native::json, native::json], Some(1.2)),
    // Without a tree, against the closure with one: what an author gains by the SDK.
    task("JSON edit, spliced", "splice", "", [native::json, native::json], None),
    // The typed contract, without the SDK.
    task("typed, copied", "../typed", r#""copy""#, [native::copy, native::copy], None),
    task("typed, forwarded", "../typed", "", [native::copy, native::copy], None),
];

fn main() {
    // `cargo bench` adds an argument of its own.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (Some(plugins), Some(careful)) = (arguments.next(), arguments.next()) else {
        println!("usage: boundary PLUGINS CAREFUL [PLUGIN]");
        return;
    };
    let only = arguments.next();
    let engine = Engine::new(Compiler::Here).unwrap();
    println!("ns a record, values of 100 bytes; ratio: plugin / native, median of {PAIRS} pairs (least to greatest)");
    println!("{:<22}{:>6}{:>10}{:>10}{:>8}", "task", "batch", "native", "plugin", "ratio");
    for Task { name: task, plugin, settings, twin, against, goal } in TASKS {
        if only.as_ref().is_some_and(|only| only != plugin) {
            continue;
        }
        let file = Path::new(&plugins).join(plugin).with_extension("wasm");
        let mut instance = instance(&engine, &file, settings);
        for size in SIZES {
            let batch = records(size);
            assert!(
                matches!(plugin, "json" | "splice") || of_closure(&batch, twin) == of_plugin(&batch, &mut instance),
                "{task} differs"
            );
            print(task, size, goal, &mut instance, &batch, || ns_a_record(size, || of_closure(&batch, against)));
            if plugin == "json" && size == SIZES[SIZES.len() - 1] {
                print("JSON edit, native LTO", size, Some(1.75), &mut instance, &batch, || of_program(&careful));
            }
        }
    }
}

/// Measures the pairs of a task and prints its line.
fn print(
    task: &str,
    size: usize,
    goal: Option<f64>,
    instance: &mut Instance,
    batch: &Batch,
    mut native: impl FnMut() -> f64,
) {
    let pairs: [(f64, f64); PAIRS] =
        std::array::from_fn(|_| (native(), ns_a_record(size, || of_plugin(batch, instance))));
    let ratios = pairs.map(|(native, plugin)| plugin / native);
    let ratio = median(ratios);
    let least = ratios.into_iter().fold(f64::INFINITY, f64::min);
    let greatest = ratios.into_iter().fold(0.0, f64::max);
    let verdict = match goal {
        Some(goal) if size == 128 && ratio <= goal => format!("  goal {goal:.2}: met"),
        Some(goal) if size == 128 => format!("  goal {goal:.2}: MISSED"),
        Some(_) | None => String::new(),
    };
    let native = median(pairs.map(|(native, _)| native));
    let plugin = median(pairs.map(|(_, plugin)| plugin));
    println!("{task:<22}{size:>6}{native:>10.1}{plugin:>10.1}{ratio:>8.2} ({least:.2} to {greatest:.2}){verdict}");
}

/// What a program says that it takes.
fn of_program(path: &str) -> f64 {
    let output = Command::new(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

fn instance(engine: &Engine, wasm: &Path, settings: &str) -> Instance {
    let settings = Settings {
        name: "bench".into(),
        wasm: PathBuf::from(wasm),
        settings: wasmill::secret::Secret(settings.into()),
        allow: wasmill::plugin::Grants::default(),
        ports: vec!["main".into()],
        timeout: Duration::from_secs(10),
        memory_bytes: 64 << 20,
        batch_records: 128,
    };
    Step::load(engine, settings).unwrap().instantiate().unwrap()
}

/// Values of 100 bytes of JSON, keys of 8 bytes and a header of 24.
fn records(count: usize) -> Batch {
    let mut batch = Batch::new(TopicPartition { topic: "orders".into(), partition: 0 });
    for (n, offset) in (0..count).zip(0..) {
        let value = native::document(n);
        let header = Header { name: b"trace", value: Some(b"0123456789abcdef012") };
        let key = format!("key{n:05}");
        batch.push(offset, 1_700_000_000_000, 0, Some(key.as_bytes()), Some(value.as_bytes()), std::iter::once(header));
    }
    batch
}

/// What a pipeline would look up of the outputs, as a figure that can't be optimised away.
fn sum(port: u32, partition: Option<i32>, timestamp: i64, bytes: usize) -> i64 {
    i64::from(port) + i64::from(partition.unwrap_or(-1)) + timestamp + i64::try_from(bytes).unwrap_or(0)
}

fn of_closure(batch: &Batch, closure: Closure) -> i64 {
    let mut outputs = Vec::with_capacity(batch.len());
    for index in 0..batch.len() {
        let record = batch.record(index);
        let mut headers = [(&b""[..], None); 1];
        for (place, header) in headers.iter_mut().zip(record.headers.iter()) {
            *place = (header.name, header.value);
        }
        let made = black_box(closure)(Input { key: record.key, value: record.value, headers: &headers }).unwrap();
        outputs.extend(made.into_iter().map(|output| (record.timestamp, output)));
    }
    let of = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
    outputs
        .iter()
        .map(|(timestamp, output)| {
            let headers = output.headers.iter().map(|(name, value)| name.len() + of(value)).sum::<usize>();
            let bytes = of(&output.key) + of(&output.value) + headers;
            sum(output.port, output.partition, output.timestamp.unwrap_or(*timestamp), bytes)
        })
        .sum()
}

fn of_plugin(batch: &Batch, instance: &mut Instance) -> i64 {
    let outcome = instance.process(&batch.view()).unwrap();
    assert!(outcome.failed.is_empty());
    (0..outcome.outputs.len())
        .map(|index| {
            let output = outcome.outputs.resolve(index, batch, 0);
            let own = output.key.map_or(0, <[u8]>::len) + output.value.map_or(0, <[u8]>::len);
            sum(output.port, output.partition, output.timestamp, own + output.headers.data().len())
        })
        .sum()
}

/// Runs one side until its time is up.
fn ns_a_record(size: usize, mut side: impl FnMut() -> i64) -> f64 {
    let begun = Instant::now();
    let mut records = 0;
    loop {
        for _ in 0..(1024 / size) {
            black_box(side());
        }
        records += 1024 / size * size;
        let elapsed = begun.elapsed();
        if elapsed >= SIDE {
            return elapsed.as_nanos() as f64 / records as f64;
        }
    }
}

fn median(mut figures: [f64; PAIRS]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[PAIRS / 2]
}
