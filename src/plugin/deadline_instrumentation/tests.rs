//! An instrumented module behaves as before, and stops at its deadline.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use wasmtime::Config;
use wasmtime::Engine;
use wasmtime::Instance;
use wasmtime::SharedMemory;
use wasmtime::Store;
use wasmtime::Trap;
use wasmtime::Val;

use wasmparser::Payload;

use super::*;

/// wasmtime's epoch is a backstop: a module that no check stops ends with another trap.
fn engine() -> Engine {
    let mut config = Config::new();
    config.epoch_interruption(true).wasm_threads(true).shared_memory(true);
    Engine::new(&config).unwrap()
}

struct Guest {
    store: Store<()>,
    instance: Instance,
    flag: SharedMemory,
}

impl Guest {
    fn new(engine: &Engine, module: &[u8]) -> Guest {
        let module = wasmtime::Module::new(engine, module).unwrap();
        let mut store = Store::new(engine, ());
        store.set_epoch_deadline(1);
        let flag = SharedMemory::new(engine, wasmtime::MemoryType::shared(0, FLAG_PAGES_MAX)).unwrap();
        let imports: Vec<wasmtime::Extern> = module.imports().map(|_| flag.clone().into()).collect();
        let instance = Instance::new(&mut store, &module, &imports).unwrap();
        Guest { store, instance, flag }
    }

    fn call(&mut self, name: &str, params: &[i32]) -> std::result::Result<Vec<i32>, Trap> {
        let function = self.instance.get_func(&mut self.store, name).unwrap();
        let params: Vec<Val> = params.iter().map(|&param| param.into()).collect();
        let mut results = vec![Val::I32(0); function.ty(&self.store).results().len()];
        match function.call(&mut self.store, &params, &mut results) {
            Ok(()) => Ok(results.iter().map(Val::unwrap_i32).collect()),
            Err(error) => Err(*error.downcast_ref().unwrap()),
        }
    }
}

/// The number of checks in a module.
fn checks(module: &[u8]) -> usize {
    let mut checks = 0;
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::CodeSectionEntry(body) = payload.unwrap() {
            let operators = body.get_operators_reader().unwrap().into_iter();
            checks += operators.filter(|op| matches!(op, Ok(Operator::MemorySize { mem: FLAG_MEMORY }))).count();
        }
    }
    checks
}

/// Functions with no, one and two results that use all kinds of jumps and memory instructions.
const MODULE: &str = r#"(module
    (memory (export "memory") 1 2)
    (data (i32.const 8) "\05\06\07")
    (data $passive "\09")
    (table funcref (elem $twice $leave))
    (global $last (mut i32) (i32.const 0))
    (func $twice (param i32) (result i32) (i32.add (local.get 0) (local.get 0)))
    (func $leave (param i32) (result i32)
        (block $outer
            (block $inner (br_table $inner $outer (local.get 0)))
            (return (i32.const 10)))
        (loop $again
            (drop (br_if 1 (i32.const 7) (i32.gt_s (local.get 0) (i32.const 3))))
            (local.set 0 (i32.add (local.get 0) (i32.const 1)))
            (br $again))
        (local.get 0))
    (func (export "nothing") (param i32)
        (loop $again
            (br_if 1 (i32.eqz (local.get 0)))
            (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
            (global.set $last (local.get 0))
            (br $again)))
    (func (export "one") (param i32) (result i32) (call_indirect (param i32) (result i32) (local.get 0) (i32.const 1)))
    (func (export "two") (param i32) (result i32 i32)
        (loop $again (result i32 i32)
            (call $twice (local.get 0)) (global.get $last)
            (br_if $again (i32.lt_s (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 0)))))
    (func (export "bytes") (param i32) (result i32)
        (memory.fill (i32.const 100) (i32.const 3) (local.get 0))
        (memory.copy (i32.const 102) (i32.const 8) (i32.const 2))
        (memory.init $passive (i32.const 101) (i32.const 0) (i32.const 1))
        (drop (memory.grow (i32.const 1)))
        (i32.add (memory.size) (i32.load (i32.const 100)))))"#;

#[test]
fn before_the_deadline_a_module_behaves_as_without_checks() {
    let engine = engine();
    let module = wat::parse_str(MODULE).unwrap();
    let checked = added(&module).unwrap();
    // Three loops, a copy of an unknown length, and growth.
    assert_eq!(checks(&checked), 5);
    let (mut before, mut after) = (Guest::new(&engine, &module), Guest::new(&engine, &checked));
    for function in ["nothing", "one", "two", "bytes"] {
        for param in [0, 1, 2, 3, 5, 100, -7, 65_500] {
            assert_eq!(before.call(function, &[param]), after.call(function, &[param]), "{function} {param}");
        }
    }
    let memory = |guest: &mut Guest| {
        let memory = guest.instance.get_memory(&mut guest.store, "memory").unwrap();
        memory.data(&guest.store).to_vec()
    };
    assert_eq!(memory(&mut before), memory(&mut after));
}

/// Every kind of code that could run for very long.
#[test]
fn no_code_runs_on_after_the_deadline() {
    let calls = |next: &str| format!("(call {next}) (call {next})");
    let tree: String = (0..60).map(|n| format!("(func $f{n} {})", calls(&format!("$f{}", n + 1)))).collect();
    let long = "(call $some)".repeat(100_000);
    let bytes = "(memory.fill (i32.const 0) (i32.const 1) (i32.mul (memory.size) (i32.const 65536)))".repeat(1500);
    // A loop that is never reached: its check doesn't help.
    let idle = "(block $b (br_if $b (i32.const 1)) (loop $l (br $l)))";
    let loops: String = (0..60).map(|n| format!("(func $f{n} {idle} {})", calls(&format!("$f{}", n + 1)))).collect();
    for (what, functions) in [
        ("loop", "(func (export \"run\") (loop $l (br $l)))"),
        ("loop in blocks", "(func (export \"run\") (block (block (loop $l (block (br_if $l (i32.const 1)))))))"),
        ("result", "(func $r (result i32) (loop $l (br $l)) (i32.const 1)) (func (export \"run\") (drop (call $r)))"),
        (
            "results",
            "(func $r (result i32 i32) (loop $l (br $l)) unreachable) (func (export \"run\") (call $r) drop drop)",
        ),
        (
            "recursion",
            "(func $f (param i32) (if (local.get 0) (then (call $f (i32.sub (local.get 0) (i32.const 1)))
            (call $f (i32.sub (local.get 0) (i32.const 1)))))) (func (export \"run\") (call $f (i32.const 100)))",
        ),
        ("each other", "(func $a (return_call $b)) (func $b (return_call $a)) (func (export \"run\") (call $a))"),
        (
            "table",
            "(table funcref (elem $a)) (type $t (func)) (func $a (return_call_indirect (type $t) (i32.const 0)))
            (func (export \"run\") (call $a))",
        ),
        ("tree", &format!("{tree} (func $f60) (func (export \"run\") (call $f0))")),
        ("tree with loops", &format!("{loops} (func $f60) (func (export \"run\") (call $f0))")),
        (
            "recursion behind a loop",
            &format!(
                "(func $f (param i32) {idle} (if (local.get 0) (then (call $f (i32.sub (local.get 0) (i32.const 1)))
                (call $f (i32.sub (local.get 0) (i32.const 1)))))) (func (export \"run\") (call $f (i32.const 100)))"
            ),
        ),
        (
            "long",
            &format!(
                "(func $some {} (global.set $g (i32.const 1))) (global $g (mut i32) (i32.const 0))
            (func $more {long}) (func (export \"run\") {})",
                "(nop)".repeat(9_000),
                "(call $more)".repeat(1000)
            ),
        ),
        ("bytes", &format!("(func (export \"run\") {bytes})")),
    ] {
        let engine = engine();
        let module = wat::parse_str(format!("(module (memory 1024) {functions})")).unwrap();
        let mut guest = Guest::new(&engine, &added(&module).unwrap());
        let flag = guest.flag.clone();
        let (ended, end) = mpsc::channel::<()>();
        let raiser = thread::spawn(move || {
            // The flag is raised while the call runs, not before.
            let _ = end.recv_timeout(Duration::from_millis(20));
            flag.grow(1).unwrap();
            let is_stopped = end.recv_timeout(Duration::from_secs(5)) != Err(mpsc::RecvTimeoutError::Timeout);
            engine.increment_epoch();
            is_stopped
        });
        let result = guest.call("run", &[]);
        drop(ended);
        assert!(raiser.join().unwrap(), "{what} went on for five seconds");
        assert_eq!(result, Err(Trap::UnreachableCodeReached), "{what}");
    }
}

#[test]
fn short_code_gets_no_checks() {
    let text = |body: &str| format!("(module (func (export \"run\") (call $f)) (func $f {body}))");
    let of = |body: &str| checks(&added(&wat::parse_str(text(body)).unwrap()).unwrap());
    assert_eq!(of("(nop)"), 0);
    assert_eq!(of(&"(nop)".repeat(9_000)), 0);
    // The head of the loop.
    assert_eq!(of("(loop (nop))"), 1);
    // One in the middle, and one before the call of `$f`, whose head is too long.
    assert_eq!(of(&"(nop)".repeat(11_000)), 2);
}

#[test]
fn damaged_modules_never_panic() {
    let module = wat::parse_str(MODULE).unwrap();
    for end in 0..module.len() {
        drop(added(&module[..end]));
    }
    for at in 0..module.len() {
        for byte in [0, 0x7f, 0xff] {
            let mut damaged = module.clone();
            damaged[at] = byte;
            // wasmtime validates whatever is returned.
            drop(added(&damaged));
        }
    }
}
