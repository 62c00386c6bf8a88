//! Checks of the deadline, in a core module before it is compiled.
//!
//! wasmtime's own check, of its epoch, ends in a call of the host, and for that call nearly every value of a function goes to the
//! stack. Here a check asks for the size of a memory that the host shares with the module: nothing until the deadline has
//! passed, a page from then on. What follows is a trap, for which nothing has to be kept.
//!
//! Checks stand at the head of each loop, at the entry of functions that can come to themselves again, behind whatever may take long
//! by itself, and where else more than [`UNCHECKED_MAX`] instructions would be done without one. `stretch.rs` counts those along the
//! ways that control can take through one function, and `calls.rs` through all of them.
//!
//! Pure, over a module that was validated; wasmtime validates what comes out. Invariant: between two checks a module executes
//! [`UNCHECKED_MAX`] instructions at most, and one copy or one call of the host that may take longer.

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

/// To be changed with whatever this room makes of a module: code that was compiled before is then not taken for it.
pub(super) const REVISION: u32 = 3;

/// The names by which a module imports the flag: a shared memory without a page, or with one when the deadline has passed.
pub(super) const FLAG: (&str, &str) = ("wasmill:host", "deadline");
/// All that the flag can be.
pub(super) const FLAG_PAGES_MAX: u32 = 1;
/// Imports come first.
const FLAG_MEMORY: u32 = 0;

/// Instructions: a few microseconds.
const UNCHECKED_MAX: u32 = 10_000;

type Result<T> = std::result::Result<T, reencode::Error<Infallible>>;

/// The same module with checks, and with [`FLAG`] among its imports.
///
/// # Errors
/// If it holds what can't be written again.
pub(super) fn added(module: &[u8]) -> Result<Vec<u8>> {
    with_bound(module, UNCHECKED_MAX)
}

/// As [`added`], with another bound than [`UNCHECKED_MAX`].
fn with_bound(module: &[u8], bound: u32) -> Result<Vec<u8>> {
    let mut checks = Checks { plan: Plan::read(module, bound)?, written: 0, has_imports: false };
    let mut made = Module::new();
    checks.parse_core_module(&mut made, Parser::new(0), module)?;
    Ok(made.finish())
}

/// Writes a module again.
struct Checks {
    plan: Plan,
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
                // The last one is the function's own.
                checked.depth = checked.depth.saturating_sub(1);
            }
            checked.function.instruction(&self.instruction(operator)?);
        }
        checked.end();
        code.function(&checked.function);
        Ok(())
    }
}

/// Whether an instruction is the head of a block.
fn opens(operator: &Operator<'_>) -> bool {
    matches!(operator, Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } | Operator::TryTable { .. })
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
