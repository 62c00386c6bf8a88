//! Speeds up short copies in a plugin, before it is compiled.
//!
//! wasmtime compiles a `memory.copy` of unknown length to a call of the host, although most copies are the few bytes of
//! a name or a number. Here each such instruction becomes a call of a function that is added to the module. It copies
//! up to 64 bytes with loads and stores, and leaves longer copies to `memory.copy`.
//!
//! Pure, over a validated binary; wasmtime validates the result. A binary that can't be read is left unchanged.
//! Invariant: a plugin can't tell the difference, because all bytes are loaded before any is stored. The exception is a
//! copy beyond the end of the memory, which may store some bytes before its trap; no instance is used after a trap.

use std::borrow::Cow;

use wasm_encoder::BlockType;
use wasm_encoder::Encode as _;
use wasm_encoder::InstructionSink;
use wasm_encoder::MemArg;
use wasm_encoder::ValType;
use wasmparser::BinaryReader;
use wasmparser::BinaryReaderError;
use wasmparser::FunctionBody;
use wasmparser::ImportSectionReader;
use wasmparser::Operator;
use wasmparser::Parser;
use wasmparser::TypeRef;
use wasmparser::TypeSectionReader;

/// Increase it whenever the generated code changes, so that code compiled by an earlier version is not reused.
pub(super) const REVISION: u32 = 1;

/// Up to this constant length, wasmtime generates loads and stores itself.
const KNOWN_BYTES_MAX: i32 = 128;
/// Components nested more deeply are left unchanged.
const DEPTH_MAX: usize = 8;

/// The magic number and the version.
const HEAD_BYTES: usize = 8;
mod section {
    pub(super) const CUSTOM: u8 = 0;
    pub(super) const TYPE: u8 = 1;
    pub(super) const IMPORT: u8 = 2;
    pub(super) const FUNCTION: u8 = 3;
    pub(super) const CODE: u8 = 10;
    /// In a component.
    pub(super) const MODULE: u8 = 1;
    /// In a component.
    pub(super) const COMPONENT: u8 = 4;
}

type Result<T> = std::result::Result<T, BinaryReaderError>;

/// The component or core module with short copies. RawOutcome unchanged if it has no such instruction.
pub(super) fn shortened(program: &[u8]) -> Cow<'_, [u8]> {
    let made = if Parser::is_core_wasm(program) { of_module(program) } else { of_component(program, 0) };
    made.ok().flatten().map_or(Cow::Borrowed(program), Cow::Owned)
}

fn of_component(component: &[u8], depth: usize) -> Result<Option<Vec<u8>>> {
    if depth > DEPTH_MAX || !Parser::is_component(component) {
        return Ok(None);
    }
    let mut changed = false;
    let mut sections = Vec::new();
    for Section { id, content } in Section::all(component)? {
        let made = match id {
            section::MODULE => of_module(content)?,
            section::COMPONENT => of_component(content, depth + 1)?,
            _ => None,
        };
        changed |= made.is_some();
        sections.push((id, made.unwrap_or_else(|| content.to_vec())));
    }
    Ok(changed.then(|| binary(component, &sections)))
}

fn of_module(module: &[u8]) -> Result<Option<Vec<u8>>> {
    let sections = Section::all(module)?;
    let mut types = 0;
    let mut functions = 0;
    for Section { id, content } in &sections {
        match *id {
            // Such sections refer to offsets in the code.
            section::CUSTOM if refers_to_offsets(BinaryReader::new(content, 0).read_string()?) => return Ok(None),
            section::TYPE => {
                for group in TypeSectionReader::new(BinaryReader::new(content, 0))? {
                    types += u32::try_from(group?.types().len()).unwrap_or(u32::MAX);
                }
            }
            section::IMPORT => {
                for import in ImportSectionReader::new(BinaryReader::new(content, 0))?.into_imports() {
                    functions += u32::from(matches!(import?.ty, TypeRef::Func(_)));
                }
            }
            section::FUNCTION => functions = BinaryReader::new(content, 0).read_var_u32()?.saturating_add(functions),
            _ => {}
        }
    }
    let mut changed = false;
    let mut made = Vec::with_capacity(sections.len());
    for Section { id, content } in sections {
        let content = match id {
            section::TYPE => with_entry(content, &copy_type())?,
            section::FUNCTION => {
                let mut index = Vec::new();
                types.encode(&mut index);
                with_entry(content, &index)?
            }
            section::CODE => match of_code(content, functions)? {
                Some(code) => {
                    changed = true;
                    code
                }
                None => return Ok(None),
            },
            _ => content.to_vec(),
        };
        made.push((id, content));
    }
    Ok(changed.then(|| binary(module, &made)))
}

/// Whether a custom section of this name refers to offsets in the code: debug information and compiler hints.
pub(super) fn refers_to_offsets(name: &str) -> bool {
    name.starts_with(".debug_") || name.starts_with("metadata.code.") || name == "sourceMappingURL"
}

/// A code section whose copies call function `copy`, with that function added at the end.
fn of_code(content: &[u8], copy: u32) -> Result<Option<Vec<u8>>> {
    let mut reader = BinaryReader::new(content, 0);
    let count = reader.read_var_u32()?;
    let mut changed = false;
    let mut bodies = Vec::with_capacity(content.len());
    for _ in 0..count {
        let body = bytes(&mut reader)?;
        let made = of_body(body, copy)?;
        changed |= made.is_some();
        made.as_deref().unwrap_or(body).encode(&mut bodies);
    }
    if !changed {
        return Ok(None);
    }
    copy_body().encode(&mut bodies);
    let mut code = Vec::with_capacity(bodies.len() + 5);
    (count + 1).encode(&mut code);
    code.extend(bodies);
    Ok(Some(code))
}

fn of_body(body: &[u8], copy: u32) -> Result<Option<Vec<u8>>> {
    let mut operators = FunctionBody::new(BinaryReader::new(body, 0)).get_operators_reader()?;
    let mut made = Vec::new();
    let mut kept = 0;
    let mut known = false;
    while !operators.eof() {
        let start = operators.original_position();
        let operator = operators.read()?;
        if matches!(operator, Operator::MemoryCopy { dst_mem: 0, src_mem: 0 }) && !known {
            made.extend_from_slice(&body[kept..start]);
            InstructionSink::new(&mut made).call(copy);
            kept = operators.original_position();
        }
        known = matches!(operator, Operator::I32Const { value: 0..=KNOWN_BYTES_MAX });
    }
    if kept == 0 {
        return Ok(None);
    }
    made.extend_from_slice(&body[kept..]);
    Ok(Some(made))
}

/// The type of a function with the parameters of `memory.copy`: to, from, length.
fn copy_type() -> Vec<u8> {
    let mut types = wasm_encoder::TypeSection::new();
    types.ty().function([ValType::I32; 3], []);
    let mut section = Vec::new();
    types.encode(&mut section);
    // Its size and its count take one byte each.
    section.split_off(2)
}

/// The body of the added function. A length from once to twice a width is covered by one access at the first byte and
/// one that ends at the last byte; above a vector's width, by two accesses each.
fn copy_body() -> Vec<u8> {
    const TO: u32 = 0;
    const FROM: u32 = 1;
    const LENGTH: u32 = 2;
    const NUMBERS: u32 = 3;
    const VECTORS: u32 = 5;
    let mut function = wasm_encoder::Function::new([(2, ValType::I64), (4, ValType::V128)]);
    let mut code = function.instructions();
    // A length of 0 matches no width and reaches `memory.copy`, because it must trap as well if an address is out of
    // bounds.
    for width in [8, 4, 2, 1, 16, 32] {
        // The unsigned comparison is true for lengths from once to twice the width.
        code.local_get(LENGTH).i32_const(width).i32_sub();
        code.i32_const(width).i32_le_u().if_(BlockType::Empty);
        let parts: &[(bool, u64)] = match width {
            32 => &[(false, 0), (false, 16), (true, 0), (true, 16)],
            _ => &[(false, 0), (true, 0)],
        };
        let address = |code: &mut InstructionSink<'_>, base: u32, is_last: bool| {
            code.local_get(base);
            if is_last {
                code.local_get(LENGTH).i32_add().i32_const(width).i32_sub();
            }
        };
        let locals = if width < 16 { NUMBERS.. } else { VECTORS.. };
        for (local, &(is_last, offset)) in locals.clone().zip(parts) {
            let at = MemArg { offset, align: 0, memory_index: 0 };
            address(&mut code, FROM, is_last);
            match width {
                1 => code.i64_load8_u(at),
                2 => code.i64_load16_u(at),
                4 => code.i64_load32_u(at),
                8 => code.i64_load(at),
                _ => code.v128_load(at),
            };
            code.local_set(local);
        }
        for (local, &(is_last, offset)) in locals.zip(parts) {
            let at = MemArg { offset, align: 0, memory_index: 0 };
            address(&mut code, TO, is_last);
            code.local_get(local);
            match width {
                1 => code.i64_store8(at),
                2 => code.i64_store16(at),
                4 => code.i64_store32(at),
                8 => code.i64_store(at),
                _ => code.v128_store(at),
            };
        }
        code.return_().end();
    }
    code.local_get(TO).local_get(FROM).local_get(LENGTH).memory_copy(0, 0).end();
    function.into_raw_body()
}

/// A section of a binary.
struct Section<'a> {
    id: u8,
    content: &'a [u8],
}

impl<'a> Section<'a> {
    fn all(binary: &'a [u8]) -> Result<Vec<Section<'a>>> {
        let mut reader = BinaryReader::new(binary, 0);
        reader.read_bytes(HEAD_BYTES)?;
        let mut sections = Vec::new();
        while !reader.eof() {
            sections.push(Section { id: reader.read_u8()?, content: bytes(&mut reader)? });
        }
        Ok(sections)
    }
}

/// The bytes after a length prefix.
fn bytes<'a>(reader: &mut BinaryReader<'a>) -> Result<&'a [u8]> {
    let count = reader.read_var_u32()?;
    // A length beyond the end is an error there, whatever it is.
    reader.read_bytes(usize::try_from(count).unwrap_or(usize::MAX))
}

/// A section that is a list, with one more entry.
fn with_entry(content: &[u8], entry: &[u8]) -> Result<Vec<u8>> {
    let mut reader = BinaryReader::new(content, 0);
    let count = reader.read_var_u32()?;
    let mut made = Vec::with_capacity(content.len() + entry.len() + 1);
    count.saturating_add(1).encode(&mut made);
    made.extend_from_slice(reader.read_bytes(reader.bytes_remaining())?);
    made.extend_from_slice(entry);
    Ok(made)
}

/// A binary with the header of `like`.
fn binary(like: &[u8], sections: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut made = like[..HEAD_BYTES].to_vec();
    for (id, content) in sections {
        made.push(*id);
        content.as_slice().encode(&mut made);
    }
    made
}

#[cfg(test)]
mod tests {
    use wasmtime::Engine;
    use wasmtime::Instance;
    use wasmtime::Memory;
    use wasmtime::Module;
    use wasmtime::Store;
    use wasmtime::Trap;
    use wasmtime::TypedFunc;

    use super::*;

    const PAGE: u32 = 1 << 16;
    const SHORT_BYTES_MAX: u32 = 64;

    /// An imported function, two types and a type group come before the copy, so that no index is 0.
    const MODULE: &str = r#"(module
        (type (func)) (rec (type (func (result i32))) (type (func (param i32))))
        (import "host" "call" (func $host))
        (memory (export "memory") 1)
        (func (export "copy") (param i32 i32 i32) (memory.copy (local.get 0) (local.get 1) (local.get 2)) (nop))
        (func (export "known") (memory.copy (i32.const 0) (i32.const 8) (i32.const 8)))
        (func (export "other") (param i32) (local i64) (if (local.get 0) (then (call $host)))))"#;

    /// A component that contains the module.
    fn component(module: &str) -> Vec<u8> {
        wat::parse_str(format!("(component (component (core {}))", module.trim_start_matches('('))).unwrap()
    }

    fn copies(binary: &[u8]) -> usize {
        binary.windows(4).filter(|bytes| *bytes == [0xfc, 10, 0, 0]).count()
    }

    struct Copier {
        store: Store<()>,
        memory: Memory,
        copy: TypedFunc<(u32, u32, u32), ()>,
    }

    impl Copier {
        fn new(engine: &Engine, module: &[u8]) -> Copier {
            let module = Module::new(engine, module).unwrap();
            let mut store = Store::new(engine, ());
            let host = wasmtime::Func::wrap(&mut store, || ());
            let instance = Instance::new(&mut store, &module, &[host.into()]).unwrap();
            let memory = instance.get_memory(&mut store, "memory").unwrap();
            let copy = instance.get_typed_func(&mut store, "copy").unwrap();
            Copier { store, memory, copy }
        }

        /// Fills the memory with a pattern, copies, and returns the memory or the trap.
        fn run(&mut self, to: u32, from: u32, length: u32) -> std::result::Result<&[u8], Trap> {
            for (byte, value) in self.memory.data_mut(&mut self.store).iter_mut().zip((0..251).cycle()) {
                *byte = value;
            }
            match self.copy.call(&mut self.store, (to, from, length)) {
                Ok(()) => Ok(self.memory.data(&self.store)),
                Err(error) => Err(*error.downcast_ref().unwrap()),
            }
        }
    }

    #[test]
    fn a_short_copy_behaves_like_memory_copy() {
        let engine = Engine::default();
        let module = wat::parse_str(MODULE).unwrap();
        let made = shortened(&module);
        let (mut copier, mut short) = (Copier::new(&engine, &module), Copier::new(&engine, &made));
        let mut compare = |to, from, length| {
            let (expected, found) = (copier.run(to, from, length), short.run(to, from, length));
            assert!(
                expected == found,
                "{length} bytes from {from} to {to}: {:?} and {:?}",
                expected.err(),
                found.err()
            );
        };
        for length in 0..=SHORT_BYTES_MAX + 2 {
            // Before, after and overlapping the target.
            for from in [0, 1, 31, 39, 40, 41, 48, 72, 120] {
                compare(40, from, length);
            }
            // Up to the end of the memory, and beyond it.
            for beyond in [0, 1, length] {
                let last = (PAGE - length).saturating_add(beyond);
                compare(last, 3, length);
                compare(3, last, length);
            }
            compare(u32::MAX, 3, length);
            compare(3, u32::MAX - length, length);
        }
        compare(PAGE + 1, 0, 0);
        compare(0, 0, u32::MAX);
    }

    #[test]
    fn only_copies_of_unknown_length_are_changed() {
        let before = component(MODULE);
        let after = shortened(&before);
        wasmparser::Validator::new().validate_all(&after).unwrap();
        // The copy of known length, and the one in the added function.
        assert_eq!((copies(&before), copies(&after)), (2, 2));
        assert_eq!(copies(&shortened(&after)), 2, "the added function has one, too");
        let none = component(r#"(module (memory 1) (func (memory.copy (i32.const 0) (i32.const 8) (i32.const 128))))"#);
        assert_eq!(shortened(&none), none);
        let long = component(r#"(module (memory 1) (func (memory.copy (i32.const 0) (i32.const 8) (i32.const 129))))"#);
        assert_ne!(shortened(&long), long);
    }

    #[test]
    fn a_module_with_sections_that_refer_to_code_offsets_is_left_alone() {
        let with = |section: &str| {
            let section = format!(r#"(@custom "{section}" "x"))"#);
            let component = component(&format!("{}{section}", MODULE.strip_suffix(')').unwrap()));
            shortened(&component) == component
        };
        assert!(!with("producers-of-mine"));
        assert!(with(".debug_line"));
        assert!(with("metadata.code.branch_hint"));
    }

    #[test]
    fn binaries_that_can_t_be_read_are_left_alone() {
        let component = component(MODULE);
        assert!(shortened(b"").is_empty());
        for end in 0..component.len() {
            assert!(copies(&shortened(&component[..end])) <= 2);
        }
        for at in 0..component.len() {
            for byte in [0, 0x7f, 0xff] {
                let mut damaged = component.clone();
                damaged[at] = byte;
                // wasmtime validates whatever is returned.
                drop(shortened(&damaged));
            }
        }
    }
}
