//! The cost of the boundary to a plugin, compared with native closures with owned outputs in the same process.
//!
//! `boundary PLUGINS CAREFUL [PLUGIN]`, where PLUGINS is the folder of the plugins, which contains the folder of the benchmarks'
//! plugins. For each task (or those of one plugin) and batch size it measures five pairs, and prints the median and the spread of
//! their ratios. The two sides of a pair alternate in short turns, so that other load on the machine affects both equally. Both
//! read the same batch, and read the bytes of every output.
#![expect(clippy::unwrap_used, reason = "a benchmark stops at whatever is wrong")]
#![expect(clippy::print_stdout, reason = "the figures are its output")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

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

/// The same allocator as in wasmill.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const PAIRS: usize = 5;
/// How many turns each side of a pair has.
const TURNS: usize = 20;
/// The length of a turn. Other load on the same core or on the same host can double or halve the speed, and it changes several
/// times a second.
const TURN: Duration = Duration::from_millis(20);
const SIZES: [usize; 3] = [1, 16, 128];

/// A measurement.
struct Task {
    name: &'static str,
    /// The plugin's file in the folder, without extension, and its settings.
    plugin: &'static str,
    settings: &'static str,
    /// The closure that does the same as the plugin.
    twin: Closure,
    /// The closure that the plugin is compared with.
    against: Closure,
    /// The limit for the largest batch.
    goal: Option<Goal>,
}

/// A limit on the result.
#[derive(Clone, Copy)]
enum Goal {
    /// On the ratio.
    Ratio(f64),
    /// On the plugin's nanoseconds per record.
    Nanoseconds(f64),
}

const fn task(
    name: &'static str,
    plugin: &'static str,
    settings: &'static str,
    twins: [Closure; 2],
    goal: Option<Goal>,
) -> Task {
    let [twin, against] = twins;
    Task { name, plugin, settings, twin, against, goal }
}

const TASKS: [Task; 7] = [
    task("identity, copied", "copy", "", [native::copy, native::copy], Some(Goal::Ratio(0.5))),
    task("identity, forwarded", "forward", "", [native::copy, native::copy], Some(Goal::Ratio(0.3))),
    // Filtering needs no copy, so it is compared with the copying identity.
    task("filter of 50 %", "filter", "", [native::filter, native::copy], Some(Goal::Ratio(0.25))),
    task("JSON edit", "json", "", [native::json, native::json], Some(Goal::Ratio(1.2))),
    // The SDK's edit without a tree is compared with the closure that parses into a tree: this is what an author gains from the
    // SDK.
    task("JSON edit, spliced", "splice", "", [native::json, native::json], Some(Goal::Nanoseconds(250.0))),
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
            print(task, size, goal, || {
                in_turns(size, || of_closure(&batch, against), || of_plugin(&batch, &mut instance))
            });
            if plugin == "json" && size == SIZES[SIZES.len() - 1] {
                let goal = Some(Goal::Ratio(1.75));
                // A separate program can't alternate with the plugin.
                print("JSON edit, native LTO", size, goal, || {
                    let native = of_program(&careful);
                    let mut plugin = Side::default();
                    (0..TURNS).for_each(|_| plugin.turn(size, || of_plugin(&batch, &mut instance)));
                    (native, plugin.ns_a_record())
                });
            }
        }
    }
}

/// Measures the pairs of a task and prints their result.
fn print(task: &str, size: usize, goal: Option<Goal>, mut pair: impl FnMut() -> (f64, f64)) {
    let pairs: [(f64, f64); PAIRS] = std::array::from_fn(|_| pair());
    let ratios = pairs.map(|(native, plugin)| plugin / native);
    let ratio = median(ratios);
    let least = ratios.into_iter().fold(f64::INFINITY, f64::min);
    let greatest = ratios.into_iter().fold(0.0, f64::max);
    let native = median(pairs.map(|(native, _)| native));
    let plugin = median(pairs.map(|(_, plugin)| plugin));
    let met = |is_met| if is_met { "met" } else { "MISSED" };
    let verdict = match goal.filter(|_| size == 128) {
        Some(Goal::Ratio(goal)) => format!("  goal {goal:.2}: {}", met(ratio <= goal)),
        Some(Goal::Nanoseconds(goal)) => format!("  goal {goal} ns: {}", met(plugin <= goal)),
        None => String::new(),
    };
    println!("{task:<22}{size:>6}{native:>10.1}{plugin:>10.1}{ratio:>8.2} ({least:.2} to {greatest:.2}){verdict}");
}

/// The nanoseconds per record that a program prints.
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
        timeout: Duration::from_secs(10).into(),
        memory_bytes: 64 << 20,
        batch_records: 128,
        outputs_per_record: 1_000_000,
        output_bytes_per_record: 64 << 20,
        demands: Vec::new(),
        hidden: wasmill::secret::Hidden::default(),
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

/// Combines what a pipeline would read of an output into a number that the compiler can't optimize away.
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

/// Measures one pair: the nanoseconds per record of each side.
fn in_turns(size: usize, mut native: impl FnMut() -> i64, mut plugin: impl FnMut() -> i64) -> (f64, f64) {
    let mut sides = [Side::default(); 2];
    for _ in 0..TURNS {
        sides[0].turn(size, &mut native);
        sides[1].turn(size, &mut plugin);
    }
    let [native, plugin] = sides.map(Side::ns_a_record);
    (native, plugin)
}

/// The total of one side's turns.
#[derive(Clone, Copy, Default)]
struct Side {
    elapsed: Duration,
    records: usize,
}

impl Side {
    fn turn(&mut self, size: usize, mut side: impl FnMut() -> i64) {
        let begun = Instant::now();
        let elapsed = loop {
            for _ in 0..(1024 / size) {
                black_box(side());
            }
            self.records += 1024 / size * size;
            let elapsed = begun.elapsed();
            if elapsed >= TURN {
                break elapsed;
            }
        };
        self.elapsed += elapsed;
    }

    fn ns_a_record(self) -> f64 {
        self.elapsed.as_nanos() as f64 / self.records as f64
    }
}

fn median(mut figures: [f64; PAIRS]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[PAIRS / 2]
}
