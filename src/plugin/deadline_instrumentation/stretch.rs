//! Where one function needs checks, and what it leaves unchecked for its callers.
//!
//! Instructions are counted along the control-flow paths: where two paths meet, the longer one counts, and after a jump
//! the path ends. Control only goes back to the head of a loop, which always has a check, so one pass sees all paths.
//! Invariant: no path is longer than the bound without a check, except for one instruction that takes longer by itself.

use wasmparser::BinaryReaderError;
use wasmparser::FunctionBody;
use wasmparser::Operator;

use super::opens;

/// The cost of a call of the host, in instructions.
const HOST_CALL: u32 = 1_000;
/// A copy of more bytes, or of an unknown number, is followed by a check.
const BYTES_MAX: u32 = 4096;
/// The same for table entries, each of which may need a call inside wasmtime.
const ENTRIES_MAX: u32 = 256;
/// The cost of a copy, in addition to its bytes.
const COPY: u32 = 16;
/// Bytes that are copied in the time of one instruction.
const BYTES_AT_ONCE: u32 = 8;
/// The cost of a table entry.
const ENTRY: u32 = 4;
/// The cost of a check.
const CHECK: u32 = 3;

/// The instructions that a function executes without a check.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unchecked {
    /// From its entry to its first check, or to its end.
    pub(super) head: u32,
    /// From its entry to its end, if a path without a check leads there.
    pub(super) through: Option<u32>,
    /// From its last check to its end, if a path leads there.
    pub(super) tail: Option<u32>,
    /// The stretch before its end is unknown, so the caller must check after the call.
    pub(super) is_open: bool,
}

impl Unchecked {
    /// A function of the host, which has no checks.
    pub(super) const HOST: Unchecked = Unchecked { head: HOST_CALL, through: None, tail: None, is_open: true };
    /// A function with a check at its entry of which nothing else is known yet.
    pub(super) const CHECKED: Unchecked = Unchecked { head: CHECK, through: None, tail: None, is_open: true };

    /// A function with a check at its entry that never returns.
    pub(super) const ENDLESS: Unchecked = Unchecked { head: CHECK, through: None, tail: None, is_open: false };
    /// A function that returns; nothing else about it matters.
    const ANY: Unchecked = Unchecked { head: 0, through: Some(0), tail: None, is_open: false };

    /// The worse of two functions in each respect.
    pub(super) fn or(self, other: Unchecked) -> Unchecked {
        Unchecked {
            head: self.head.max(other.head),
            through: self.through.max(other.through),
            tail: self.tail.max(other.tail),
            is_open: self.is_open || other.is_open,
        }
    }
}

/// A function with its checks.
pub(super) struct Walked {
    /// The indices of the instructions that need a check before them, ascending.
    pub(super) places: Vec<u32>,
    pub(super) unchecked: Unchecked,
}

/// The longest paths to an instruction. Both are `None` if it can't be reached.
#[derive(Clone, Copy, Default)]
struct Ways {
    /// Instructions since the entry, on paths without a check.
    entry: Option<u32>,
    /// Instructions since the last check.
    check: Option<u32>,
}

impl Ways {
    const NONE: Ways = Ways { entry: None, check: None };
    const CHECKED: Ways = Ways { entry: None, check: Some(0) };

    fn lead_here(self) -> bool {
        self.entry.is_some() || self.check.is_some()
    }

    fn longest(self) -> u32 {
        self.entry.max(self.check).unwrap_or_default()
    }

    fn or(self, other: Ways) -> Ways {
        Ways { entry: self.entry.max(other.entry), check: self.check.max(other.check) }
    }

    fn and(self, more: u32) -> Ways {
        let add = |count: u32| count.saturating_add(more);
        Ways { entry: self.entry.map(add), check: self.check.map(add) }
    }

    /// The paths after a call.
    fn behind(self, callee: Unchecked) -> Ways {
        let add = |count: u32| Some(count.saturating_add(callee.through?).saturating_add(1));
        let tail = if callee.is_open { Some(0) } else { callee.tail };
        Ways { entry: self.entry.and_then(add), check: self.check.and_then(add).max(tail) }
    }
}

/// A block around the next instruction.
struct Block {
    is_loop: bool,
    /// Paths to the instruction after the block: jumps, the end of the first branch of an `if`, and an `if` that isn't
    /// taken.
    behind: Ways,
    /// Paths to the second branch of an `if`.
    second: Ways,
}

/// Walks through a body. `callee` returns what a call reaches, and is only asked about calls.
pub(super) fn walk(
    body: &FunctionBody<'_>,
    bound: u32,
    is_checked: bool,
    callee: impl Fn(&Operator<'_>) -> Unchecked,
) -> Result<Walked, BinaryReaderError> {
    let mut walk = Walk {
        bound,
        now: Ways { entry: Some(0), check: None },
        is_due: is_checked,
        blocks: vec![Block { is_loop: false, behind: Ways::NONE, second: Ways::NONE }],
        head: 0,
        is_open: false,
        places: Vec::new(),
    };
    let mut number = None;
    for (at, operator) in (0_u32..).zip(body.get_operators_reader()?) {
        let operator = operator?;
        let kind = Kind::of(&operator, number, &callee);
        number = if let Operator::I32Const { value } = operator { u32::try_from(value).ok() } else { None };
        walk.step(at, &operator, kind);
    }
    let end = walk.now;
    let unchecked = Unchecked { head: walk.head, through: end.entry, tail: end.check, is_open: walk.is_open };
    Ok(Walked { places: walk.places, unchecked })
}

/// Whether a path leads to the end of a body, if all of its callees return.
pub(super) fn returns(body: &FunctionBody<'_>) -> Result<bool, BinaryReaderError> {
    let Unchecked { through, tail, .. } = walk(body, u32::MAX, false, |_| Unchecked::ANY)?.unchecked;
    Ok(through.is_some() || tail.is_some())
}

/// The cost of an instruction.
enum Kind {
    /// This many instructions.
    Plain(u32),
    /// An instruction that may take long by itself.
    Long,
    Call(Unchecked),
    /// A tail call.
    Last(Unchecked),
}

impl Kind {
    /// `number` is the constant that the previous instruction pushed, if it did.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other instructions call nobody and are short")]
    fn of(operator: &Operator<'_>, number: Option<u32>, callee: impl Fn(&Operator<'_>) -> Unchecked) -> Kind {
        match operator {
            Operator::Call { .. } | Operator::CallIndirect { .. } | Operator::CallRef { .. } => {
                Kind::Call(callee(operator))
            }
            Operator::ReturnCall { .. } | Operator::ReturnCallIndirect { .. } | Operator::ReturnCallRef { .. } => {
                Kind::Last(callee(operator))
            }
            Operator::MemoryGrow { .. } | Operator::TableGrow { .. } => Kind::Long,
            Operator::MemoryCopy { .. } | Operator::MemoryFill { .. } | Operator::MemoryInit { .. } => match number {
                Some(bytes) if bytes <= BYTES_MAX => Kind::Plain(COPY + bytes / BYTES_AT_ONCE),
                Some(_) | None => Kind::Long,
            },
            Operator::TableCopy { .. } | Operator::TableFill { .. } | Operator::TableInit { .. } => match number {
                Some(entries) if entries <= ENTRIES_MAX => Kind::Plain(COPY + entries * ENTRY),
                Some(_) | None => Kind::Long,
            },
            _ => Kind::Plain(1),
        }
    }
}

struct Walk {
    bound: u32,
    /// Paths to the next instruction.
    now: Ways,
    /// A check is needed before the next instruction.
    is_due: bool,
    blocks: Vec<Block>,
    head: u32,
    is_open: bool,
    places: Vec<u32>,
}

impl Walk {
    fn step(&mut self, at: u32, operator: &Operator<'_>, kind: Kind) {
        if self.now.lead_here() {
            let ahead = match &kind {
                Kind::Plain(count) => *count,
                Kind::Long => 1,
                Kind::Call(callee) | Kind::Last(callee) => callee.head.saturating_add(1),
            };
            let is_fresh = self.now.entry.is_none() && self.now.check == Some(0) && !self.is_due;
            self.is_due |= !is_fresh && self.now.longest().saturating_add(ahead) > self.bound;
            // `unreachable` traps anyway, and `loop` gets its own check.
            if self.is_due && !matches!(operator, Operator::Unreachable | Operator::Loop { .. }) {
                self.check_before(at);
            }
            if let Some(entry) = self.now.entry {
                self.head = self.head.max(entry.saturating_add(ahead));
            }
            self.now = match kind {
                Kind::Plain(count) => self.now.and(count),
                Kind::Long => {
                    self.is_due = true;
                    self.now.and(1)
                }
                Kind::Call(callee) => {
                    self.is_due = callee.is_open;
                    self.now.behind(callee)
                }
                Kind::Last(callee) => {
                    self.is_open |= callee.is_open;
                    self.now.behind(callee)
                }
            };
        }
        self.follow(at, operator);
        self.is_due &= self.now.lead_here();
    }

    fn check_before(&mut self, at: u32) {
        if let Some(entry) = self.now.entry {
            self.head = self.head.max(entry.saturating_add(CHECK));
        }
        self.places.push(at);
        self.now = Ways::CHECKED;
        self.is_due = false;
    }

    /// Follows control from this instruction.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other instructions go to the next one")]
    fn follow(&mut self, at: u32, operator: &Operator<'_>) {
        match operator {
            Operator::If { .. } => {
                self.blocks.push(Block { is_loop: false, behind: Ways::NONE, second: self.now });
            }
            Operator::Loop { .. } => {
                self.blocks.push(Block { is_loop: true, behind: Ways::NONE, second: Ways::NONE });
                if self.now.lead_here() {
                    self.check_before(at.saturating_add(1));
                }
            }
            _ if opens(operator) => {
                self.blocks.push(Block { is_loop: false, behind: Ways::NONE, second: Ways::NONE });
            }
            Operator::Else => {
                if let Some(block) = self.blocks.last_mut() {
                    block.behind = block.behind.or(self.now);
                    self.now = std::mem::take(&mut block.second);
                }
            }
            Operator::End => {
                if let Some(block) = self.blocks.pop() {
                    self.now = self.now.or(block.behind).or(block.second);
                }
            }
            Operator::Br { relative_depth } => {
                self.jump(*relative_depth);
                self.now = Ways::NONE;
            }
            Operator::BrIf { relative_depth }
            | Operator::BrOnNull { relative_depth }
            | Operator::BrOnNonNull { relative_depth } => self.jump(*relative_depth),
            Operator::BrTable { targets } => {
                // Reencoding reports a target that can't be read.
                for target in targets.targets().flatten().chain([targets.default()]) {
                    self.jump(target);
                }
                self.now = Ways::NONE;
            }
            Operator::Return
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::ReturnCallRef { .. } => {
                self.leave(0);
                self.now = Ways::NONE;
            }
            Operator::Unreachable => self.now = Ways::NONE,
            _ => {}
        }
    }

    fn jump(&mut self, depth: u32) {
        let depth = usize::try_from(depth).unwrap_or(usize::MAX);
        if let Some(block) = self.blocks.len().checked_sub(1).and_then(|last| last.checked_sub(depth)) {
            self.leave(block);
        }
    }

    /// Adds the current paths to the end of a block. For a loop, they lead to its head, which has a check.
    fn leave(&mut self, block: usize) {
        if let Some(block) = self.blocks.get_mut(block)
            && !block.is_loop
        {
            block.behind = block.behind.or(self.now);
        }
    }
}
