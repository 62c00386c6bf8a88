//! Measures the longest stretch that modules execute without a check, for attacks and for generated modules.
//!
//! An instrumented module gets a counter: each instruction adds one, and a check keeps the maximum and resets the
//! counter. Fuel stops modules that don't end. With a small bound even small modules get every kind of check.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use wasm_encoder::CodeSection;
use wasm_encoder::EntityType;
use wasm_encoder::ImportSection;
use wasm_encoder::InstructionSink;
use wasm_encoder::reencode;
use wasm_encoder::reencode::Reencode;
use wasmparser::FunctionBody;
use wasmparser::ImportSectionReader;
use wasmtime::Config;
use wasmtime::Engine;
use wasmtime::Extern;
use wasmtime::ExternType;
use wasmtime::Global;
use wasmtime::GlobalType;
use wasmtime::Instance;
use wasmtime::Mutability;
use wasmtime::SharedMemory;
use wasmtime::Store;
use wasmtime::Val;
use wasmtime::ValType;

use super::*;

/// The longest stretch that any module may execute.
const STRETCH_MAX: u64 = 50_000;
/// The fuel of one module.
const FUEL: u64 = 200_000_000;

const COUNT: u32 = 0;
const MOST: u32 = 1;

/// Adds the counter to an instrumented module.
struct Counted;

impl Reencode for Counted {
    type Error = Infallible;

    fn global_index(&mut self, global: u32) -> Result<u32> {
        Ok(global.saturating_add(2))
    }

    fn parse_import_section(&mut self, imports: &mut ImportSection, section: ImportSectionReader<'_>) -> Result<()> {
        let global = wasm_encoder::GlobalType { val_type: wasm_encoder::ValType::I64, mutable: true, shared: false };
        imports.import("test", "count", EntityType::Global(global));
        imports.import("test", "most", EntityType::Global(global));
        reencode::utils::parse_import_section(self, imports, section)
    }

    fn parse_function_body(&mut self, code: &mut CodeSection, body: FunctionBody<'_>) -> Result<()> {
        let mut function = self.new_function_with_parsed_locals(&body)?;
        for operator in body.get_operators_reader()? {
            let operator = operator?;
            let mut sink: InstructionSink<'_> = function.instructions();
            if matches!(operator, Operator::MemorySize { mem: FLAG_MEMORY }) {
                sink.global_get(COUNT).global_get(MOST).i64_gt_u().if_(BlockType::Empty);
                sink.global_get(COUNT).global_set(MOST).end().i64_const(0).global_set(COUNT);
            } else {
                sink.global_get(COUNT).i64_const(1).i64_add().global_set(COUNT);
            }
            function.instruction(&self.instruction(operator)?);
        }
        code.function(&function);
        Ok(())
    }
}

struct Counter {
    engine: Engine,
    /// Instructions executed so far, including those of the counter.
    executed: u64,
}

impl Counter {
    fn new() -> Counter {
        let mut config = Config::new();
        config.consume_fuel(true).wasm_threads(true).shared_memory(true);
        // Most of the time is spent on compilation.
        config.cranelift_opt_level(wasmtime::OptLevel::None);
        Counter { engine: Engine::new(&config).unwrap(), executed: 0 }
    }

    /// Calls all exports of a module and returns the longest stretch.
    fn longest(&mut self, module: &[u8], bound: u32, fuel: u64) -> u64 {
        let checked = with_bound(module, bound).unwrap();
        let mut counted = Module::new();
        Counted.parse_core_module(&mut counted, Parser::new(0), &checked).unwrap();
        let module = wasmtime::Module::new(&self.engine, counted.finish()).unwrap();
        let mut store = Store::new(&self.engine, ());
        store.set_fuel(fuel).unwrap();
        let mut number =
            || Global::new(&mut store, GlobalType::new(ValType::I64, Mutability::Var), 0_i64.into()).unwrap();
        let (count, most) = (number(), number());
        let flag = SharedMemory::new(&self.engine, wasmtime::MemoryType::shared(0, FLAG_PAGES_MAX)).unwrap();
        let imports: Vec<Extern> = module
            .imports()
            .map(|import| match (import.name(), import.ty()) {
                ("count", _) => count.into(),
                ("most", _) => most.into(),
                (_, ExternType::Func(kind)) => {
                    let results: Vec<ValType> = kind.results().collect();
                    wasmtime::Func::new(&mut store, kind, move |_, _, made| {
                        made.iter_mut().zip(&results).for_each(|(made, kind)| *made = kind.default_value().unwrap());
                        Ok(())
                    })
                    .into()
                }
                _ => flag.clone().into(),
            })
            .collect();
        // A module whose start traps has nothing to call.
        if let Ok(instance) = Instance::new(&mut store, &module, &imports) {
            for export in module.exports() {
                let Some(function) = instance.get_func(&mut store, export.name()) else { continue };
                let kind = function.ty(&store);
                let params: Vec<Val> = kind.params().map(|kind| kind.default_value().unwrap()).collect();
                let mut results: Vec<Val> = kind.results().map(|kind| kind.default_value().unwrap()).collect();
                // A trap ends a stretch like a check.
                let _ = function.call(&mut store, &params, &mut results);
                let last = count.get(&mut store).unwrap_i64().max(most.get(&mut store).unwrap_i64());
                most.set(&mut store, last.into()).unwrap();
                count.set(&mut store, 0_i64.into()).unwrap();
            }
        }
        self.executed += fuel - store.get_fuel().unwrap();
        most.get(&mut store).unwrap_i64().unsigned_abs()
    }

    fn of_text(&mut self, text: &str) -> u64 {
        self.longest(&wat::parse_str(text).unwrap(), UNCHECKED_MAX, FUEL)
    }
}

/// A function just short enough to need no check.
fn short() -> String {
    format!("(func $short {})", "(nop)".repeat(9_980))
}

#[test]
fn a_check_in_code_that_is_never_reached_does_not_count() {
    // After the jump, the count reaches the bound.
    let part = format!("(block (call $short) (br 0) {})", "(nop)".repeat(30));
    for part in [part.clone(), part.replace("(br 0)", "(br_table 0 (i32.const 0))"), part.replace("(nop)", "(loop)")] {
        let text = format!("(module {} (func (export \"run\") {}))", short(), part.repeat(100));
        let longest = Counter::new().of_text(&text);
        assert!(longest < STRETCH_MAX, "{longest} instructions, of {}", &part[..60]);
    }
}

#[test]
fn an_indirect_call_counts_as_its_longest_possible_callee() {
    let text = |call: &str| {
        format!(
            "(module (table funcref (elem $short)) (type $t (func)) {} (elem declare func $short)
            (func (export \"run\") {}))",
            short(),
            call.repeat(100)
        )
    };
    let longest = Counter::new().of_text(&text("(call_indirect (type $t) (i32.const 0))"));
    assert!(longest < STRETCH_MAX, "{longest} instructions");
}

#[test]
fn instructions_after_calls_count_as_well() {
    let work = "(nop)".repeat(4_000);
    // Each function has a check at its entry; this is about the way back.
    let recursion = format!(
        "(func $f (export \"run\") (param i32) (if (i32.lt_u (local.get 0) (i32.const 200)) (then
            (call $f (i32.add (local.get 0) (i32.const 1))))) {work})"
    );
    let chain: String = (0..100).map(|n| format!("(func $f{n} (loop) (call $f{}) {work})", n + 1)).collect();
    let chain = format!("{chain} (func $f100) (func (export \"run\") (call $f0))");
    for functions in [recursion, chain] {
        let longest = Counter::new().of_text(&format!("(module {functions})"));
        assert!(longest < STRETCH_MAX, "{longest} instructions, of {}", &functions[..60]);
    }
}

/// A copy of a known length counts for more than one instruction: a long row of copies needs checks between them.
#[test]
fn copies_count_for_their_length() {
    let copies = |bytes: u32| {
        let fill = format!("(memory.fill (i32.const 0) (i32.const 1) (i32.const {bytes}))");
        let text = format!("(module (memory 1) (func (export \"run\") {}))", fill.repeat(1000));
        let mut plan = Plan::read(&wat::parse_str(text).unwrap(), UNCHECKED_MAX).unwrap();
        plan.take_places(0).len()
    };
    assert!(copies(4096) > 40, "{}", copies(4096));
    assert_eq!(copies(4097), 1000);
    assert!(copies(8) < 3);
}

/// Pseudo-random bytes (SplitMix64; Steele, Lea, Flood 2014).
fn random(seed: u64) -> impl Iterator<Item = u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    std::iter::from_fn(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some((mixed ^ (mixed >> 31)).to_le_bytes()[0])
    })
}

/// Modules made by wasm-smith 0.254, without imports and without instructions that trap, of up to 14 functions with 400
/// instructions: the twenty of 4,000 that need the most checks. They are kept as files because the tool as a dependency
/// would rebuild most of the tree.
fn by_chance() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugins/chance");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Programs of blocks, loops that end, jumps, and calls of each other, also through a table. Those of wasm-smith seldom
/// execute much.
fn of_calls(seed: u64) -> Vec<u8> {
    const FUNCTIONS: u8 = 8;
    let mut random = random(seed);
    let mut draw = move |below: u8| random.next().unwrap_or_default() % below;
    let mut functions = String::new();
    for function in 0..FUNCTIONS {
        // Limits the depth of calls: a function that is too deep returns.
        write!(
            functions,
            "(func $f{function} (export \"f{function}\") (local i32)
            (if (i32.gt_u (global.get $deep) (i32.const {})) (then (return)))
            (global.set $deep (i32.add (global.get $deep) (i32.const 1)))",
            3 + draw(20)
        )
        .unwrap();
        let mut blocks = Vec::new();
        for _ in 0..10 + draw(60) {
            match draw(12) {
                0 => {
                    functions.push_str("(block ");
                    blocks.push("");
                }
                1 => {
                    functions.push_str("(local.set 0 (i32.const 2)) (loop ");
                    blocks.push("(br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))");
                }
                2 => {
                    functions.push_str("(if (i32.and (global.get $deep) (i32.const 1)) (then ");
                    blocks.push(") (else (nop) (nop) (nop) (nop))");
                }
                3 | 4 => {
                    if let Some(end) = blocks.pop() {
                        write!(functions, "{end})").unwrap();
                    }
                }
                5 if blocks.iter().all(|end| !end.contains("br_if")) && !blocks.is_empty() => {
                    // A jump out of a loop would make it endless, or end it too early.
                    let depth = draw(u8::try_from(blocks.len()).unwrap_or(1));
                    let jump = ["br", "br_if", "br_table 0"][usize::from(draw(3))];
                    let by = if jump == "br" { "" } else { "(i32.and (global.get $deep) (i32.const 2))" };
                    write!(functions, "({jump} {depth} {by})").unwrap();
                }
                6 | 7 => write!(functions, "(call $f{})", draw(FUNCTIONS)).unwrap(),
                8 => write!(functions, "(call_indirect (type $t) (i32.const {}))", draw(4)).unwrap(),
                _ => functions.push_str(&"(nop)".repeat(usize::from(draw(20)))),
            }
        }
        while let Some(end) = blocks.pop() {
            write!(functions, "{end})").unwrap();
        }
        functions.push_str("(global.set $deep (i32.sub (global.get $deep) (i32.const 1))))");
    }
    let text = format!(
        "(module (type $t (func)) (global $deep (mut i32) (i32.const 0)) (table funcref (elem $f0 $f1 $f2 $f3)) {functions})"
    );
    wat::parse_str(text).unwrap()
}

#[test]
fn no_module_executes_much_without_a_check() {
    // The full set takes minutes, this one seconds.
    let seeds = if std::env::var_os("WASMILL_FULL").is_some() { 20_000 } else { 25 };
    let mut counter = Counter::new();
    for (kind, modules) in [("smith", by_chance()), ("calls", (0..seeds).map(of_calls).collect())] {
        let mut ran = 0;
        for (number, module) in modules.iter().enumerate() {
            let before = counter.executed;
            // The real bound is seldom reached.
            let bounds = [(40, 100), (UNCHECKED_MAX, STRETCH_MAX)];
            for (bound, most) in bounds.into_iter().take(1 + usize::from(number % 5 == 0)) {
                let longest = counter.longest(module, bound, 300_000);
                assert!(longest < most, "{longest} instructions, {kind} {number}, bound {bound}");
            }
            ran += usize::from(counter.executed - before > 1_000);
        }
        assert!(ran > modules.len() / 2, "only {ran} of {} of {kind} did anything", modules.len());
    }
}
