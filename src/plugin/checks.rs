//! Checks of the deadline, in a core module before it is compiled.
//!
//! wasmtime's own check, of its epoch, ends in a call of the host, and for that call nearly every value of a function goes to the
//! stack. Here a check asks for the size of a memory that the host shares with the module: nothing until the deadline has
//! passed, a page from then on. What follows is a trap, for which nothing has to be kept.
//!
//! Checks stand at the head of each loop, at the entry of functions, behind whatever may take long by itself, and where much
//! was done since. A function that has at most [`UNCHECKED_MAX`] instructions, with all that it calls, needs none at its entry:
//! whatever is done twice in it stands in a loop.
//!
//! Pure, over a module that was validated; wasmtime validates what comes out. Invariant: what a module executes between two checks
//! has a bound, in the order of [`UNCHECKED_MAX`] instructions.

use std::convert::Infallible;

use wasm_encoder::BlockType;
use wasm_encoder::CodeSection;
use wasm_encoder::EntityType;
use wasm_encoder::Function;
use wasm_encoder::ImportSection;
use wasm_encoder::MemoryType;
use wasm_encoder::Module;
use wasm_encoder::SectionId;
use wasm_encoder::reencode;
use wasm_encoder::reencode::Reencode;
use wasmparser::BinaryReaderError;
use wasmparser::FunctionBody;
use wasmparser::ImportSectionReader;
use wasmparser::Operator;
use wasmparser::Parser;
use wasmparser::Payload;
use wasmparser::TypeRef;
use wasmparser::ValType;

/// To be changed with whatever this file makes of a module: code that was compiled before is then not taken for it.
pub(super) const REVISION: u32 = 2;

/// The names by which a module imports the flag: a shared memory without a page, or with one when the deadline has passed.
pub(super) const FLAG: (&str, &str) = ("wasmill:host", "deadline");
/// All that the flag can be.
pub(super) const FLAG_PAGES_MAX: u32 = 1;
/// Imports come first.
const FLAG_MEMORY: u32 = 0;

/// Instructions: a few microseconds.
const UNCHECKED_MAX: u32 = 10_000;
/// What a call of the host counts for.
const HOST_CALL: u32 = 1_000;
/// A longer copy, or one of unknown length, is followed by a check.
const BYTES_MAX: i32 = 4096;
/// Calls in calls deeper than this are taken for endless.
const DEPTH_MAX: usize = 32;

type Result<T> = std::result::Result<T, reencode::Error<Infallible>>;

/// The same module with checks, and with [`FLAG`] among its imports.
///
/// # Errors
/// If it holds what can't be written again.
pub(super) fn added(module: &[u8]) -> Result<Vec<u8>> {
    let mut checks = Checks { functions: Functions::read(module)?, written: 0, has_imports: false };
    let mut made = Module::new();
    checks.parse_core_module(&mut made, Parser::new(0), module)?;
    Ok(made.finish())
}

/// What a module's functions return and cost.
#[derive(Default)]
struct Functions {
    /// How many are imported: they come first.
    imported: usize,
    /// For each type its results, if it is one of functions.
    types: Vec<Vec<ValType>>,
    /// For each function that isn't imported its type.
    declared: Vec<u32>,
    bodies: Vec<Body>,
    /// For each function, how many instructions are done in a call of it without a check, at most: those of its body and of all
    /// that it calls, once each, as a loop has its own check. `None`: unknown, or too many.
    costs: Vec<Option<u32>>,
}

impl Functions {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "sections of the binary format, most of which aren't about functions"
    )]
    fn read(module: &[u8]) -> std::result::Result<Functions, BinaryReaderError> {
        let mut functions = Functions::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::TypeSection(groups) => {
                    for group in groups {
                        for kind in group?.types() {
                            let results = match &kind.composite_type.inner {
                                wasmparser::CompositeInnerType::Func(function) => function.results().to_vec(),
                                _ => Vec::new(),
                            };
                            functions.types.push(results);
                        }
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        functions.imported += usize::from(matches!(import?.ty, TypeRef::Func(_)));
                    }
                }
                Payload::FunctionSection(declared) => {
                    functions.declared = declared.into_iter().collect::<std::result::Result<_, _>>()?;
                }
                Payload::CodeSectionEntry(body) => functions.bodies.push(Body::read(&body)?),
                _ => {}
            }
        }
        functions.costs = costs(functions.imported, &functions.bodies);
        Ok(functions)
    }

    /// What a function that isn't imported returns.
    fn results(&self, index: usize) -> &[ValType] {
        let kind = self.declared.get(index).and_then(|&kind| usize::try_from(kind).ok());
        kind.and_then(|kind| self.types.get(kind)).map_or(&[], Vec::as_slice)
    }

    /// The cost of calling a function, if there is none at its entry.
    fn cost(&self, function: u32) -> Option<u32> {
        *usize::try_from(function).ok().and_then(|function| self.costs.get(function))?
    }
}

/// What counts of a function's body.
struct Body {
    instructions: u32,
    calls: Vec<u32>,
    /// Whether it calls nobody knows whom.
    calls_any: bool,
    /// Whether it has loops, or instructions that may take long by themselves.
    has_checks: bool,
}

impl Body {
    fn read(body: &FunctionBody<'_>) -> std::result::Result<Body, BinaryReaderError> {
        let mut read = Body { instructions: 0, calls: Vec::new(), calls_any: false, has_checks: false };
        let mut seen = Seen::default();
        for operator in body.get_operators_reader()? {
            read.instructions = read.instructions.saturating_add(1);
            match seen.next(&operator?) {
                Kind::Call(function) => read.calls.push(function),
                Kind::CallOfAny => read.calls_any = true,
                Kind::Loop | Kind::Long => read.has_checks = true,
                Kind::Open | Kind::Close | Kind::Other => {}
            }
        }
        Ok(read)
    }
}

/// What an instruction is here.
enum Kind {
    Call(u32),
    /// Of a function that only the guest knows.
    CallOfAny,
    Loop,
    /// Another block.
    Open,
    Close,
    /// It handles so many bytes or entries that it may take long.
    Long,
    Other,
}

/// The instructions of a body, as they come.
#[derive(Default)]
struct Seen {
    /// Whether the last one was a small number.
    small: bool,
}

impl Seen {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other instructions go forward, call nobody and are short")]
    fn next(&mut self, operator: &Operator<'_>) -> Kind {
        let small = std::mem::replace(&mut self.small, matches!(operator, Operator::I32Const { value: 0..=BYTES_MAX }));
        match operator {
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => Kind::Call(*function_index),
            Operator::CallIndirect { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::CallRef { .. }
            | Operator::ReturnCallRef { .. } => Kind::CallOfAny,
            Operator::Loop { .. } => Kind::Loop,
            Operator::Block { .. } | Operator::If { .. } | Operator::TryTable { .. } => Kind::Open,
            Operator::End => Kind::Close,
            Operator::MemoryGrow { .. } | Operator::TableGrow { .. } => Kind::Long,
            Operator::MemoryCopy { .. }
            | Operator::MemoryFill { .. }
            | Operator::MemoryInit { .. }
            | Operator::TableCopy { .. }
            | Operator::TableFill { .. }
            | Operator::TableInit { .. }
                if !small =>
            {
                Kind::Long
            }
            _ => Kind::Other,
        }
    }
}

/// The costs of all functions: from those that call nobody upwards, so that who calls itself never gets one.
fn costs(imported: usize, bodies: &[Body]) -> Vec<Option<u32>> {
    let mut costs = vec![Some(HOST_CALL); imported];
    costs.resize(imported + bodies.len(), None);
    for _ in 0..DEPTH_MAX {
        let mut has_changed = false;
        for (index, body) in bodies.iter().enumerate() {
            if body.calls_any || costs[imported + index].is_some() {
                continue;
            }
            let cost = body.calls.iter().try_fold(body.instructions, |sum, &callee| {
                let callee = usize::try_from(callee).ok().and_then(|callee| *costs.get(callee)?)?;
                sum.checked_add(callee)
            });
            costs[imported + index] = cost.filter(|&cost| cost <= UNCHECKED_MAX);
            has_changed |= costs[imported + index].is_some();
        }
        if !has_changed {
            break;
        }
    }
    costs
}

/// Writes a module again.
struct Checks {
    functions: Functions,
    /// Bodies so far.
    written: usize,
    has_imports: bool,
}

impl Checks {
    fn import_flag(&mut self, imports: &mut ImportSection) {
        let memory = MemoryType {
            minimum: 0,
            maximum: Some(FLAG_PAGES_MAX.into()),
            memory64: false,
            shared: true,
            page_size_log2: None,
        };
        imports.import(FLAG.0, FLAG.1, EntityType::Memory(memory));
        self.has_imports = true;
    }
}

impl Reencode for Checks {
    type Error = Infallible;

    fn memory_index(&mut self, memory: u32) -> Result<u32> {
        Ok(memory.saturating_add(1))
    }

    fn parse_import_section(&mut self, imports: &mut ImportSection, section: ImportSectionReader<'_>) -> Result<()> {
        self.import_flag(imports);
        reencode::utils::parse_import_section(self, imports, section)
    }

    fn intersperse_section_hook(
        &mut self,
        module: &mut Module,
        _: Option<SectionId>,
        before: Option<SectionId>,
    ) -> Result<()> {
        if !self.has_imports && !matches!(before, Some(SectionId::Type | SectionId::Import)) {
            let mut imports = ImportSection::new();
            self.import_flag(&mut imports);
            module.section(&imports);
        }
        Ok(())
    }

    fn parse_function_body(&mut self, code: &mut CodeSection, body: FunctionBody<'_>) -> Result<()> {
        let index = self.written;
        self.written += 1;
        let cost = self.functions.costs.get(self.functions.imported + index).copied().flatten();
        if cost.is_some() && !self.functions.bodies.get(index).is_none_or(|body| body.has_checks) {
            return reencode::utils::parse_function_body(self, code, body);
        }
        let late = match self.functions.results(index) {
            [] => Late::Block(BlockType::Empty),
            &[result] => Late::Block(BlockType::Result(self.val_type(result)?)),
            _ => Late::Here,
        };
        let mut checked = Checked { function: self.new_function_with_parsed_locals(&body)?, late, depth: 0 };
        checked.begin();
        if cost.is_none() {
            checked.check();
        }
        let mut seen = Seen::default();
        let mut unchecked = 0_u32;
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            let operator = operators.read()?;
            let kind = seen.next(&operator);
            checked.function.instruction(&self.instruction(operator)?);
            unchecked = unchecked.saturating_add(1);
            let is_due = match kind {
                Kind::Call(callee) => {
                    unchecked = unchecked.saturating_add(self.functions.cost(callee).unwrap_or_default());
                    false
                }
                Kind::Loop => {
                    checked.depth += 1;
                    true
                }
                Kind::Open => {
                    checked.depth += 1;
                    false
                }
                Kind::Close => {
                    // The last one is the function's own.
                    checked.depth = checked.depth.saturating_sub(1);
                    false
                }
                Kind::Long => true,
                Kind::CallOfAny | Kind::Other => false,
            };
            if (is_due || unchecked > UNCHECKED_MAX) && !operators.eof() {
                checked.check();
                unchecked = 0;
            }
        }
        checked.end();
        code.function(&checked.function);
        Ok(())
    }
}

/// Where the trap of a function's checks is.
enum Late {
    /// Behind the function, so that a check in time goes straight on. The type is that of a block with the function's results.
    Block(BlockType),
    /// At each check: a block with more than one result needs a type of its own.
    Here,
}

/// A function with checks.
struct Checked {
    function: Function,
    late: Late,
    /// Blocks around the next instruction, those of [`Checked::begin`] aside.
    depth: u32,
}

impl Checked {
    /// Opens a block that a late check leaves, and one that is what the function's own was.
    fn begin(&mut self) {
        if let Late::Block(results) = self.late {
            self.function.instructions().block(BlockType::Empty).block(results);
        }
    }

    fn check(&mut self) {
        let mut code = self.function.instructions();
        code.memory_size(FLAG_MEMORY);
        match self.late {
            Late::Block(_) => code.br_if(self.depth + 1),
            Late::Here => code.if_(BlockType::Empty).unreachable().end(),
        };
    }

    /// Behind the last `end` of the function as it was.
    fn end(&mut self) {
        if let Late::Block(_) = self.late {
            self.function.instructions().return_().end().unreachable().end();
        }
    }
}

#[cfg(test)]
mod tests {
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

    use super::*;

    /// A backstop: what isn't stopped by a check is stopped by wasmtime, and told apart by its trap.
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

    /// How many times a module asks for the size of the flag.
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

    /// Functions with no result, one and two, in which control leaves in every way and memory is used in every way.
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
    fn in_time_a_module_does_what_it_did() {
        let engine = engine();
        let module = wat::parse_str(MODULE).unwrap();
        let checked = added(&module).unwrap();
        assert!(checks(&checked) > 5);
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

    /// Everything that could go on for longer than anyone waits.
    #[test]
    fn nothing_goes_on_when_the_flag_is_up() {
        let calls = |next: &str| format!("(call {next}) (call {next})");
        let tree: String = (0..60).map(|n| format!("(func $f{n} {})", calls(&format!("$f{}", n + 1)))).collect();
        let long = "(call $some)".repeat(100_000);
        let bytes = "(memory.fill (i32.const 0) (i32.const 1) (i32.mul (memory.size) (i32.const 65536)))".repeat(1500);
        // A loop that is never come to: its check doesn't help.
        let idle = "(block $b (br_if $b (i32.const 1)) (loop $l (br $l)))";
        let loops: String =
            (0..60).map(|n| format!("(func $f{n} {idle} {})", calls(&format!("$f{}", n + 1)))).collect();
        for (what, functions) in [
            ("loop", "(func (export \"run\") (loop $l (br $l)))"),
            ("loop in blocks", "(func (export \"run\") (block (block (loop $l (block (br_if $l (i32.const 1)))))))"),
            (
                "result",
                "(func $r (result i32) (loop $l (br $l)) (i32.const 1)) (func (export \"run\") (drop (call $r)))",
            ),
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
                // Inside of it, not before.
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
    fn what_is_soon_done_is_not_checked() {
        let text = |body: &str| format!("(module (func (export \"run\") (call $f)) (func $f {body}))");
        let of = |body: &str| checks(&added(&wat::parse_str(text(body)).unwrap()).unwrap());
        assert_eq!(of("(nop)"), 0);
        assert_eq!(of(&"(nop)".repeat(9_000)), 0);
        // Where it goes back to.
        assert_eq!(of("(loop (nop))"), 1);
        // The entries of both, and the middle.
        assert_eq!(of(&"(nop)".repeat(11_000)), 3);
    }

    #[test]
    fn damage_never_ends_the_process() {
        let module = wat::parse_str(MODULE).unwrap();
        for end in 0..module.len() {
            drop(added(&module[..end]));
        }
        for at in 0..module.len() {
            for byte in [0, 0x7f, 0xff] {
                let mut damaged = module.clone();
                damaged[at] = byte;
                // Whatever comes out is for wasmtime to refuse.
                drop(added(&damaged));
            }
        }
    }
}
