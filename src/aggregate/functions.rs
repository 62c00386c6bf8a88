//! The functions of a step, and how they fold records into cells.
//!
//! Functions over the same field share what they can: a sum and an average, or two quantiles, are one *part* of the cell. A cell is a
//! version byte and the parts in the order of their fields, so that renaming and reordering settings keeps the state. Invariant: on an
//! error nothing is appended to `out`, so either all functions have a record or none has.

use twox_hash::XxHash3_64;

use super::distinct;
use super::edge;
use super::edge::Edge;
use super::encoding::Reader;
use super::field::Field;
use super::number;
use super::number::Extreme;
use super::pointer::Pointer;
use super::quantile;
use super::reject::CorruptCell;
use super::reject::FoldError;
use super::reject::Reject;
use super::scan::FoundFields;
use super::settings;
use super::settings::Function;
use super::settings::Setting;
use super::settings::SettingError;
use crate::record::Record;

/// The maximum size of a cell.
pub const CELL_BYTES_MAX: usize = 64 * 1024;
/// The version of the cells' encoding.
const VERSION: u8 = 1;

/// The functions of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Functions {
    pub(super) results: Vec<ResultField>,
    parts: Vec<Part>,
    pointers: Vec<Pointer>,
    layout: String,
    /// The cell that no record was folded into.
    empty: Vec<u8>,
}

/// A field of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResultField {
    /// What is written before the value: `,"orders":`.
    pub(super) prefix: String,
    pub(super) function: Function,
    /// The index of its part.
    pub(super) part: usize,
}

/// A part of a cell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    /// The field's index in `pointers`; 0 for a count of records.
    field: usize,
    kind: PartKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PartKind {
    Records,
    Present,
    Sum,
    Min,
    Max,
    Distinct,
    Quantile,
    First,
    Last,
}

impl Functions {
    /// Reads the settings of a step, in the order of the file.
    ///
    /// # Errors
    /// Every setting that can't be used.
    pub fn parse<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Functions, Vec<SettingError>> {
        let settings = settings::parse(settings)?;
        let mut pointers: Vec<Pointer> = settings.iter().filter_map(|setting| setting.pointer.clone()).collect();
        pointers.sort();
        pointers.dedup();
        let part = |setting: &Setting| Part {
            field: setting.pointer.as_ref().and_then(|pointer| pointers.binary_search(pointer).ok()).unwrap_or(0),
            kind: PartKind::of(setting),
        };
        let mut parts: Vec<Part> = settings.iter().map(part).collect();
        parts.sort();
        parts.dedup();
        let results = settings.iter().map(|setting| ResultField {
            prefix: format!(",{}:", serde_json::Value::from(setting.name.as_str())),
            function: setting.function,
            part: parts.binary_search(&part(setting)).unwrap_or(0),
        });
        let results = results.collect();
        let names = parts.iter().map(|part| part.name(&pointers));
        let layout = serde_json::Value::from_iter([VERSION.to_string()].into_iter().chain(names)).to_string();
        let empty = [VERSION].into_iter().chain(parts.iter().map(|_| 0)).collect();
        Ok(Functions { results, parts, pointers, layout, empty })
    }

    /// The fields that the functions need, for [`Extraction::new`](super::Extraction::new).
    #[must_use]
    pub fn pointers(&self) -> &[Pointer] {
        &self.pointers
    }

    /// What cells hold, as text: cells can be read by functions that have the same. Names and order of the settings, and which quantile
    /// of a field is asked for, make no difference.
    #[must_use]
    pub fn layout(&self) -> &str {
        &self.layout
    }

    /// A number for the layout: cells of another number can't be read.
    #[must_use]
    pub fn version(&self) -> u32 {
        let [a, b, c, d, ..] = XxHash3_64::oneshot(self.layout.as_bytes()).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// Checks whether cells of a stored layout can be read.
    ///
    /// # Errors
    /// What differs, as a lowercase fragment.
    pub fn accepts(&self, stored: &str) -> Result<(), String> {
        if stored == self.layout {
            return Ok(());
        }
        let names = |layout: &str| serde_json::from_str::<Vec<String>>(layout).ok().filter(|names| !names.is_empty());
        let (Some(old), Some(new)) = (names(stored), names(&self.layout)) else {
            return Err(format!("the stored layout of the functions is unreadable: {stored}"));
        };
        if old.first() != new.first() {
            let version = |names: &[String]| names.first().cloned().unwrap_or_default();
            return Err(format!("the state has format {}, and this version reads {}", version(&old), version(&new)));
        }
        let missing = |from: &[String], to: &[String]| {
            from.iter()
                .filter(|name| !to.contains(name))
                .map(|name| format!("\"{name}\""))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let (added, removed) = (missing(&new, &old), missing(&old, &new));
        Err(match (added.is_empty(), removed.is_empty()) {
            (false, true) => format!("the state has no {added}"),
            (true, _) => format!("the state has {removed}, which the settings no longer ask for"),
            (false, false) => format!("the state has {removed} where the settings ask for {added}"),
        })
    }

    /// Folds a record into its cell and appends the new cell to `out`. `None` is the cell of a new key. `time_ms` is the event time.
    ///
    /// # Errors
    /// The record is rejected, or the cell is corrupt. `out` is as it was before.
    pub fn add(
        &self,
        cell: Option<&[u8]>,
        record: &Record<'_>,
        found: &FoundFields,
        time_ms: i64,
        out: &mut Vec<u8>,
    ) -> Result<(), FoldError> {
        self.or_undo(out, |out| {
            let mut old = Reader::new(cell.unwrap_or(&self.empty));
            read_version(&mut old)?;
            out.push(VERSION);
            // Parts of one field follow each other, so each field is read once.
            let mut read: Option<(usize, Option<Field<'_>>)> = None;
            for part in &self.parts {
                if part.kind == PartKind::Records {
                    number::add_one(&mut old, out)?;
                    continue;
                }
                if read.is_none_or(|read| read.0 != part.field) {
                    let json = found.text(record.value, part.field);
                    let field = self.pointers.get(part.field).zip(json);
                    read = Some((part.field, field.map(|(pointer, json)| Field::new(pointer, json))));
                }
                let Some((_, Some(field))) = &mut read else {
                    part.copy(&mut old, out)?;
                    continue;
                };
                match part.kind {
                    PartKind::Records | PartKind::Present => number::add_one(&mut old, out)?,
                    PartKind::Sum => number::add_to_sum(&mut old, field, out)?,
                    PartKind::Min => number::add_to_extreme(Extreme::Min, &mut old, field, out)?,
                    PartKind::Max => number::add_to_extreme(Extreme::Max, &mut old, field, out)?,
                    PartKind::Distinct => distinct::add(&mut old, field, out)?,
                    PartKind::Quantile => quantile::add(&mut old, field, out)?,
                    PartKind::First => edge::add(Edge::First, &mut old, field, time_ms, out)?,
                    PartKind::Last => edge::add(Edge::Last, &mut old, field, time_ms, out)?,
                }
            }
            at_end(&old)
        })
    }

    /// Merges the cell `later` into the cell `into` and appends the result to `out`. The records of `later` arrived after those of
    /// `into`. The result equals that of folding all of them into one cell.
    ///
    /// # Errors
    /// A cell is corrupt, or a result has no room. `out` is as it was before.
    pub fn merge(&self, into: &[u8], later: &[u8], out: &mut Vec<u8>) -> Result<(), FoldError> {
        self.or_undo(out, |out| {
            let (mut into, mut later) = (Reader::new(into), Reader::new(later));
            read_version(&mut into)?;
            read_version(&mut later)?;
            out.push(VERSION);
            for part in &self.parts {
                match part.kind {
                    PartKind::Records | PartKind::Present => number::merge_counts(&mut into, &mut later, out)?,
                    PartKind::Sum => number::merge_sums(&mut into, &mut later, out)?,
                    PartKind::Min => number::merge_extremes(Extreme::Min, &mut into, &mut later, out)?,
                    PartKind::Max => number::merge_extremes(Extreme::Max, &mut into, &mut later, out)?,
                    PartKind::Distinct => distinct::merge(&mut into, &mut later, out)?,
                    PartKind::Quantile => quantile::merge(&mut into, &mut later, out)?,
                    PartKind::First => edge::merge(Edge::First, &mut into, &mut later, out)?,
                    PartKind::Last => edge::merge(Edge::Last, &mut into, &mut later, out)?,
                }
            }
            at_end(&into)?;
            at_end(&later)
        })
    }

    /// Checks a whole cell, as after a restore. A cell that passes is never corrupt for the other functions.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, cell: &[u8]) -> Result<(), CorruptCell> {
        if cell.len() > CELL_BYTES_MAX {
            return Err(CorruptCell::new("it is larger than 64 KiB"));
        }
        self.parts(cell).map(drop)
    }

    /// The encoded parts of a cell, each of which was checked.
    pub(super) fn parts<'c>(&self, cell: &'c [u8]) -> Result<Vec<&'c [u8]>, CorruptCell> {
        let mut reader = Reader::new(cell);
        read_version(&mut reader)?;
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let before = reader.rest();
            part.check(&mut reader)?;
            parts.push(before.get(..before.len() - reader.rest().len()).unwrap_or_default());
        }
        if !reader.is_empty() {
            return Err(LEFT_OVER);
        }
        Ok(parts)
    }

    fn or_undo(
        &self,
        out: &mut Vec<u8>,
        fold: impl FnOnce(&mut Vec<u8>) -> Result<(), FoldError>,
    ) -> Result<(), FoldError> {
        let start = out.len();
        let mut result = fold(out);
        let bytes = out.len().saturating_sub(start);
        if result.is_ok() && bytes > CELL_BYTES_MAX {
            let reason = format!("the accumulator has {bytes} bytes, where {CELL_BYTES_MAX} are allowed");
            result = Err(Reject::new("cell-too-large", reason).into());
        }
        if result.is_err() {
            out.truncate(start);
        }
        result
    }
}

const LEFT_OVER: CorruptCell = CorruptCell::new("it has bytes after its last part");

fn read_version(reader: &mut Reader<'_>) -> Result<(), CorruptCell> {
    if reader.byte()? == VERSION { Ok(()) } else { Err(CorruptCell::new("it has an unknown format version")) }
}

fn at_end(reader: &Reader<'_>) -> Result<(), FoldError> {
    if reader.is_empty() { Ok(()) } else { Err(LEFT_OVER.into()) }
}

impl PartKind {
    fn of(setting: &Setting) -> PartKind {
        match setting.function {
            Function::Count if setting.pointer.is_none() => PartKind::Records,
            Function::Count => PartKind::Present,
            Function::Sum | Function::Average => PartKind::Sum,
            Function::Min => PartKind::Min,
            Function::Max => PartKind::Max,
            Function::Distinct => PartKind::Distinct,
            Function::Quantile(_) => PartKind::Quantile,
            Function::First => PartKind::First,
            Function::Last => PartKind::Last,
        }
    }
}

impl Part {
    /// The part in the layout.
    fn name(&self, pointers: &[Pointer]) -> String {
        let pointer = pointers.get(self.field).map(Pointer::text).unwrap_or_default();
        let function = match self.kind {
            PartKind::Records => return "count".to_owned(),
            PartKind::Present => "count",
            PartKind::Sum => "sum",
            PartKind::Min => "min",
            PartKind::Max => "max",
            PartKind::Distinct => "distinct",
            PartKind::Quantile => "quantile",
            PartKind::First => "first",
            PartKind::Last => "last",
        };
        format!("{function}:{pointer}")
    }

    /// Appends the part as it is.
    fn copy(&self, old: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), CorruptCell> {
        let before = old.rest();
        match self.kind {
            PartKind::Distinct => drop(distinct::read(old)?),
            PartKind::Quantile => drop(quantile::read(old)?),
            PartKind::Records
            | PartKind::Present
            | PartKind::Sum
            | PartKind::Min
            | PartKind::Max
            | PartKind::First
            | PartKind::Last => {
                self.check(old)?;
            }
        }
        out.extend_from_slice(before.get(..before.len() - old.rest().len()).unwrap_or_default());
        Ok(())
    }

    /// Reads over the part and checks it.
    fn check(&self, reader: &mut Reader<'_>) -> Result<(), CorruptCell> {
        match self.kind {
            PartKind::Records | PartKind::Present => reader.u64().map(drop),
            PartKind::Sum => number::read_sum(reader).map(drop),
            PartKind::Min | PartKind::Max => number::read_extreme(reader).map(drop),
            PartKind::Distinct => distinct::check(reader),
            PartKind::Quantile => quantile::check(reader),
            PartKind::First | PartKind::Last => edge::check(reader),
        }
    }
}
