//! `wasmill state ls`: lists keys with their values, from all members of the group.

use clap::Args as ClapArgs;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Asked;
use super::member;
use super::member::OtherMember;
use super::member::Place;
use crate::cli::exit_code::Exit;
use crate::cli::print;
use crate::cli::print::Reader;
use crate::telemetry;

/// Lists keys, each with its windows and the values that their results would have now, in no particular order.
///
/// Values are committed. With windows that overlap, each line is a slice: the records between two ends of windows. The process at the
/// file's `http.listen` is asked, and the other members of its group. Exit code 1: a member could not be asked.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill state ls orders.toml
  wasmill state ls orders.toml --prefix eu- --limit 1000
  wasmill state ls orders.toml --json | jq -r .key")]
pub(super) struct Args {
    #[command(flatten)]
    asked: Asked,
    /// Only keys that begin so
    #[arg(long, value_name = "TEXT", default_value = "", env = "WASMILL_PREFIX")]
    prefix: String,
    /// Print at most this many lines
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), default_value = "100", env = "WASMILL_LIMIT")]
    limit: u64,
}

/// How many entries are asked for at a time.
const PAGE: u64 = 1_000;

#[derive(Deserialize)]
struct Page {
    entries: Vec<Box<RawValue>>,
    next: Option<String>,
    others: Option<Vec<OtherMember>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    key: Value,
    partition: i32,
    from: Value,
    to: Value,
    #[serde(borrow)]
    value: &'a RawValue,
}

/// What was listed.
#[derive(Default)]
struct Listed {
    entries: Vec<Box<RawValue>>,
    has_more: bool,
    others: Vec<OtherMember>,
    /// Members that could not be asked.
    unasked: Vec<String>,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let place = Place::of(&args.asked)?;
    let mut listed = Listed::default();
    listed.read(args, &place.address, &place.path)?;
    for other in std::mem::take(&mut listed.others) {
        if args.limit <= listed.entries.len() as u64 {
            listed.has_more = true;
            break;
        }
        let Some(address) = &other.address else {
            listed.unasked.push(member::has_no_address(&other));
            continue;
        };
        if let Err(why) = listed.read(args, address, &place.path) {
            listed.unasked.push(why.message().to_owned());
        }
    }
    if print_all(&listed.entries, args.asked.json)? == Reader::Gone {
        return Ok(());
    }
    if listed.has_more {
        telemetry::tell("there are more: raise --limit, or give a --prefix");
    }
    if listed.unasked.is_empty() {
        return Ok(());
    }
    Err(Exit::Stopped(format!("the list is not whole; {}", member::unasked(&listed.unasked))))
}

impl Listed {
    /// Reads what one process has, page by page.
    fn read(&mut self, args: &Args, address: &str, path: &str) -> Result<(), Exit> {
        let mut cursor = None;
        loop {
            let left = args.limit.saturating_sub(self.entries.len() as u64);
            let from = cursor.as_deref().map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
            let prefix = member::encoded(args.prefix.as_bytes());
            let page = format!("{path}?prefix={prefix}&limit={}{from}", left.clamp(1, PAGE));
            let answer = member::ask(address, &page).map_err(|why| member::unreached(&why))?;
            if answer.status != 200 {
                return Err(member::refused(&answer));
            }
            let Ok(page) = serde_json::from_str::<Page>(&answer.body) else { return Err(member::refused(&answer)) };
            self.entries.extend(page.entries);
            match page.others {
                Some(others) => self.others = others,
                None => {
                    self.unasked.push("the other members of the group, which its coordinator doesn't tell".to_owned())
                }
            }
            if page.next.is_none() {
                return Ok(());
            }
            if args.limit <= self.entries.len() as u64 {
                self.has_more = true;
                return Ok(());
            }
            cursor = page.next.map(|next| member::encoded(next.as_bytes()));
        }
    }
}

fn print_all(entries: &[Box<RawValue>], json: bool) -> Result<Reader, Exit> {
    if json {
        let lines: String = entries.iter().map(|entry| format!("{}\n", entry.get())).collect();
        return print::data(&lines);
    }
    if entries.is_empty() {
        telemetry::tell("there are no such keys");
        return Ok(Reader::There);
    }
    let row = |entry: &RawValue| {
        let Entry { key, partition, from, to, value } = serde_json::from_str(entry.get()).ok()?;
        let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let safe = |value: Value| print::text(Some(text(value).as_bytes()));
        Some([safe(key), partition.to_string(), text(from), text(to), print::text(Some(value.get().as_bytes()))])
    };
    let rows = entries.iter().filter_map(|entry| row(entry));
    print::data(&aligned(["KEY", "PARTITION", "FROM", "TO", "VALUE"], rows))
}

/// Aligned columns.
pub(super) fn aligned<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let lines: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let widths: [usize; N] =
        std::array::from_fn(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["a", "1"], ["long", "2"]].map(|row| row.map(str::to_owned));
        assert_eq!(aligned(["KEY", "N"], rows.into_iter()), "KEY   N\na     1\nlong  2\n");
    }
}
