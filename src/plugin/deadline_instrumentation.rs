//! Deadline instrumentation: adds checks of the deadline to a core module before it is compiled.
//!
//! wasmtime's own check, of its epoch, ends in a call of the host, for which nearly every value of a function is
//! spilled to the stack. Here a check reads the size of a memory that the host shares with the module: no pages until
//! the deadline has passed, one page afterwards. A check that finds the page traps, which needs no values to be kept.
//!
//! Checks are placed at the head of each loop, at the entry of recursive functions, after any instruction that may take
//! long by itself, and wherever more than [`UNCHECKED_MAX`] instructions could run without one. `stretch.rs` counts
//! instructions along the paths through one function, and `calls.rs` through the whole module.
//!
//! Pure, over a validated module; wasmtime validates the result. Invariant: between two checks a module executes at
//! most [`UNCHECKED_MAX`] instructions, and one copy or one call of the host that may take longer.

mod calls;
#[cfg(test)]
mod fuzz;
mod stretch;
#[cfg(test)]
mod tests;

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
use wasmparser::FunctionBody;
use wasmparser::ImportSectionReader;
use wasmparser::Operator;
use wasmparser::Parser;

use calls::Plan;

/// Increase it whenever the generated code changes, so that code compiled by an earlier version is not reused.
pub(super) const REVISION: u32 = 3;

/// The names with which a module imports the flag: a shared memory with no pages, or with one page once the deadline
/// has passed.
pub(super) const FLAG: (&str, &str) = ("wasmill:host", "deadline");
/// The maximum size of the flag.
pub(super) const FLAG_PAGES_MAX: u32 = 1;
/// The flag is the first import, so it has the first memory index.
const FLAG_MEMORY: u32 = 0;

/// In instructions. They take a few microseconds.
const UNCHECKED_MAX: u32 = 10_000;

type Result<T> = std::result::Result<T, reencode::Error<Infallible>>;

/// The module with checks, and with [`FLAG`] among its imports.
///
/// # Errors
/// If the module has parts that can't be reencoded.
pub(super) fn added(module: &[u8]) -> Result<Vec<u8>> {
    with_bound(module, UNCHECKED_MAX)
}

/// Like [`added`], with another bound than [`UNCHECKED_MAX`].
fn with_bound(module: &[u8], bound: u32) -> Result<Vec<u8>> {
    let mut checks = Checks { plan: Plan::read(module, bound)?, written: 0, has_imports: false };
    let mut made = Module::new();
    checks.parse_core_module(&mut made, Parser::new(0), module)?;
    Ok(made.finish())
}

/// Reencodes a module with checks.
struct Checks {
    plan: Plan,
    /// The number of bodies reencoded so far.
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
        let mut places = self.plan.take_places(index).into_iter().peekable();
        if places.peek().is_none() {
            return reencode::utils::parse_function_body(self, code, body);
        }
        let late = match self.plan.results(index) {
            [] => Late::Block(BlockType::Empty),
            &[result] => Late::Block(BlockType::Result(self.val_type(result)?)),
            _ => Late::Here,
        };
        let mut checked = Checked { function: self.new_function_with_parsed_locals(&body)?, late, depth: 0 };
        checked.begin();
        for (at, operator) in (0_u32..).zip(body.get_operators_reader()?) {
            let operator = operator?;
            if places.next_if_eq(&at).is_some() {
                checked.check();
            }
            if opens(&operator) {
                checked.depth += 1;
            } else if matches!(operator, Operator::End) {
                // The last `end` is the function's own.
                checked.depth = checked.depth.saturating_sub(1);
            }
            checked.function.instruction(&self.instruction(operator)?);
        }
        checked.end();
        code.function(&checked.function);
        Ok(())
    }
}

/// Whether an instruction opens a block.
fn opens(operator: &Operator<'_>) -> bool {
    matches!(operator, Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } | Operator::TryTable { .. })
}

/// Where the trap of a function's checks is.
enum Late {
    /// After the function's code, so that a check that passes goes straight on. The type is that of a block with the
    /// function's results.
    Block(BlockType),
    /// At each check: a block with more than one result would need a type of its own.
    Here,
}

/// A function with checks.
struct Checked {
    function: Function,
    late: Late,
    /// The number of blocks around the next instruction, without those of [`Checked::begin`].
    depth: u32,
}

impl Checked {
    /// Opens the block that a failing check leaves, and inside it one that replaces the function's own block.
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

    /// Called after the last `end` of the original function.
    fn end(&mut self) {
        if let Late::Block(_) = self.late {
            self.function.instructions().return_().end().unreachable().end();
        }
    }
}
