//! Real plugins, damaged: what their compilers made of Rust, C, Go, JavaScript and Python, with small changes.
//!
//! Most changes keep a file valid, so that its code runs: another operator of the same type, another constant, another address, other data.
//! The rest are for the parsers: bytes, ranges and whole sections. Every change is made in place, so components are changed like core
//! modules, at any depth.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::path::PathBuf;

use wasmparser::Operator;
use wasmparser::Parser;
use wasmparser::Payload;

use crate::component;
use crate::support;
use crate::support::random::Random;

/// Of a file with more operators, each n-th one is a place for a change.
const SITES_MAX: usize = 1 << 20;

/// A plugin that works.
pub(crate) struct Plugin {
    pub(crate) name: String,
    bytes: Vec<u8>,
    /// Where operators begin that can be changed, and what else is there.
    operators: Vec<usize>,
    data: Vec<Range<usize>>,
    sections: Vec<Range<usize>>,
}

/// The plugins that are there: those of the repository, those that it builds, and those in the folder `WASMILL_SANDBOX_PLUGINS`. The largest
/// are the last.
pub(crate) fn plugins() -> Vec<Plugin> {
    let root = support::root();
    let mut found = Vec::new();
    let mut folders =
        vec![root.join("tests/plugins/kept"), root.join("plugins/target/wasm"), root.join("plugins/target/wasm/bench")];
    for examples in ["examples", "target/languages/examples"] {
        folders.extend(support::files_in(&root.join(examples), Path::is_dir));
    }
    folders.extend(std::env::var("WASMILL_SANDBOX_PLUGINS").map(PathBuf::from));
    for path in folders.iter().flat_map(|folder| support::files(folder, "wasm")) {
        let bytes = fs::read(&path).unwrap();
        // What isn't a plugin, such as a library of a language, would be refused anyway.
        if wasmill::plugin::inspect(&bytes).is_ok() {
            found.push(Plugin::new(path.strip_prefix(root).unwrap_or(&path).display().to_string(), bytes));
        }
    }
    for name in ["forward", "talk"] {
        found.push(Plugin::new(format!("{name}, a component"), component::component(&component::fixture(name))));
    }
    found.sort_by_key(|plugin| plugin.bytes.len());
    found
}

impl Plugin {
    #[expect(clippy::wildcard_enum_match_arm, reason = "sections of the binary format, of which few matter")]
    fn new(name: String, bytes: Vec<u8>) -> Plugin {
        let (mut operators, mut data, mut sections) = (Vec::new(), Vec::new(), Vec::new());
        for payload in Parser::new(0).parse_all(&bytes) {
            let payload = payload.unwrap();
            sections.extend(payload.as_section().map(|(_, range)| range));
            match payload {
                Payload::CodeSectionEntry(body) => {
                    for operator in body.get_operators_reader().unwrap().into_iter_with_offsets() {
                        let (operator, at) = operator.unwrap();
                        operators.extend(is_changeable(&operator).then_some(at));
                    }
                }
                Payload::DataSection(segments) => {
                    data.extend(segments.into_iter().map(|segment| segment.unwrap().range));
                }
                _ => {}
            }
        }
        let step = operators.len().div_ceil(SITES_MAX).max(1);
        let operators = operators.into_iter().step_by(step).collect();
        Plugin { name, bytes, operators, data, sections }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The plugin with some changes.
    pub(crate) fn mutant(&self, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for _ in 0..=random.below(4) {
            match random.below(10) {
                0 => flip(&mut bytes, random),
                1 => self.rearrange(&mut bytes, random),
                2 | 3 => self.change_data(&mut bytes, random),
                _ => self.change_operator(&mut bytes, random),
            }
        }
        bytes
    }

    fn change_operator(&self, bytes: &mut [u8], random: &mut Random) {
        let Some(&at) = pick(&self.operators, random) else { return };
        // An earlier change may have moved or cut what was here.
        if let Some(code) = bytes.get_mut(at..) {
            change(code, random);
        }
    }

    fn change_data(&self, bytes: &mut [u8], random: &mut Random) {
        let Some(range) = pick(&self.data, random) else { return };
        if let Some(data) = bytes.get_mut(range.clone())
            && !data.is_empty()
        {
            for _ in 0..=random.below(8) {
                let at = below(data.len(), random);
                data[at] = byte(random);
            }
        }
    }

    /// Removes, doubles or cuts a section, or the file.
    fn rearrange(&self, bytes: &mut Vec<u8>, random: &mut Random) {
        let Some(range) = pick(&self.sections, random).filter(|range| range.end <= bytes.len()) else { return };
        match random.below(4) {
            0 => drop(bytes.drain(range.clone())),
            1 => {
                let copy = bytes[range.clone()].to_vec();
                bytes.splice(range.end..range.end, copy);
            }
            2 => {
                let at = range.start + below(range.len().max(1), random);
                bytes.drain(at..range.end);
            }
            _ => bytes.truncate(below(bytes.len(), random)),
        }
    }
}

/// Changes single bytes anywhere.
fn flip(bytes: &mut [u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        if !bytes.is_empty() {
            let at = below(bytes.len(), random);
            bytes[at] = byte(random);
        }
    }
}

fn is_changeable(operator: &Operator<'_>) -> bool {
    let plain = class(operator);
    plain.is_some()
        || matches!(operator, Operator::I32Const { .. } | Operator::I64Const { .. } | Operator::I32Eqz)
        || is_access(operator)
}

fn is_access(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::I32Load { .. }
            | Operator::I64Load { .. }
            | Operator::I32Store { .. }
            | Operator::I64Store { .. }
            | Operator::I32Load8U { .. }
            | Operator::I32Store8 { .. }
    )
}

/// Operators of one byte each, with the same types.
const CLASSES: [Range<u8>; 8] =
    [0x46..0x50, 0x51..0x5b, 0x61..0x67, 0x67..0x6a, 0x6a..0x79, 0x79..0x7c, 0x7c..0x8b, 0xa0..0xa7];

#[expect(clippy::wildcard_enum_match_arm, reason = "there are hundreds of operators")]
fn class(operator: &Operator<'_>) -> Option<Range<u8>> {
    let code = match operator {
        Operator::I32Eq
        | Operator::I32Ne
        | Operator::I32LtS
        | Operator::I32LtU
        | Operator::I32GtU
        | Operator::I32GeU => 0x46,
        Operator::I64Eq | Operator::I64Ne | Operator::I64LtU | Operator::I64GtU => 0x51,
        Operator::F64Eq | Operator::F64Lt | Operator::F64Gt => 0x61,
        Operator::I32Clz | Operator::I32Ctz => 0x67,
        Operator::I32Add
        | Operator::I32Sub
        | Operator::I32Mul
        | Operator::I32And
        | Operator::I32Or
        | Operator::I32Shl
        | Operator::I32ShrU => 0x6a,
        Operator::I64Clz | Operator::I64Ctz => 0x79,
        Operator::I64Add
        | Operator::I64Sub
        | Operator::I64Mul
        | Operator::I64And
        | Operator::I64Or
        | Operator::I64Shl => 0x7c,
        Operator::F64Add | Operator::F64Sub | Operator::F64Mul | Operator::F64Div => 0xa0,
        _ => return None,
    };
    CLASSES.into_iter().find(|class| class.contains(&code))
}

/// Changes the operator that begins here.
fn change(code: &mut [u8], random: &mut Random) {
    const UNREACHABLE: u8 = 0x00;
    const NOP: u8 = 0x01;
    const EQZ: u8 = 0x45;
    let Some(&operator) = code.first() else { return };
    match operator {
        EQZ => code[0] = NOP,
        // Constants: another number of the same length.
        0x41 | 0x42 => number(&mut code[1..], random),
        // Loads and stores: another offset, after the alignment.
        0x28..=0x3e if code.len() > 2 => number(&mut code[2..], random),
        _ => {
            let class = CLASSES.into_iter().find(|class| class.contains(&operator));
            let Some(class) = class else { return };
            code[0] = if random.below(20) == 0 {
                UNREACHABLE
            } else {
                class.start + u8::try_from(random.below(u64::from(class.end - class.start))).unwrap()
            };
        }
    }
}

/// Writes another number in the bytes of one.
fn number(bytes: &mut [u8], random: &mut Random) {
    const MORE: u8 = 0x80;
    for byte_of in bytes.iter_mut().take(10) {
        let more = *byte_of & MORE;
        *byte_of = more | (byte(random) & !MORE);
        if more == 0 {
            break;
        }
    }
}

fn pick<'a, T>(of: &'a [T], random: &mut Random) -> Option<&'a T> {
    if of.is_empty() { None } else { of.get(below(of.len(), random)) }
}

fn below(bound: usize, random: &mut Random) -> usize {
    usize::try_from(random.below(bound as u64)).unwrap()
}

fn byte(random: &mut Random) -> u8 {
    u8::try_from(random.below(256)).unwrap()
}
