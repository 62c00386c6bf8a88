//! `wasmill dlq show`: prints dead letters with what is known about their failure.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::str::FromStr;

use clap::Args as ClapArgs;
use serde_json::Value;
use serde_json::json;

use super::Selection;
use super::list::Format;
use crate::cli::args::PipelineFile;
use crate::cli::exit_code::Exit;
use crate::cli::print;
use crate::cli::print::Reader;
use crate::cli::time;
use crate::dlq;
use crate::dlq::Letter;
use crate::dry_run::line;
use crate::telemetry;

/// Prints dead letters, the oldest of each partition first: the record as it was read, and why it failed.
///
/// It joins no group and changes nothing. Bytes that are not UTF-8 are printed as replacement characters, in JSON as base64.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill dlq show orders.toml
  wasmill dlq show orders.toml --at 2:17
  wasmill dlq show orders.toml --code bad-json --format json --limit 1000 > bad.ndjson")]
pub(super) struct Args {
    #[command(flatten)]
    file: PipelineFile,
    #[command(flatten)]
    selection: Selection,
    /// Only the dead letter at this partition and offset of the dead-letter topic; may be repeated
    #[arg(long, value_name = "PARTITION:OFFSET", value_delimiter = ',', env = "WASMILL_AT")]
    at: Vec<Place>,
    /// Print at most this many [default: 10, or as many as --at names]
    #[arg(long, value_name = "N", value_parser = super::limit(), env = "WASMILL_LIMIT")]
    limit: Option<u64>,
    /// How they are printed
    #[arg(long, value_enum, default_value = "text", env = "WASMILL_FORMAT")]
    format: Format,
}

/// How many are printed unless the command line says it.
const DEFAULT: u64 = 10;

/// A partition and an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(i32, i64);

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Place, &'static str> {
        let place = text.split_once(':').and_then(|(partition, offset)| {
            Some(Place(partition.parse().ok().filter(|&n| n >= 0)?, offset.parse().ok().filter(|&n| n >= 0)?))
        });
        place.ok_or("write PARTITION:OFFSET, as in 2:17")
    }
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let (config, topic) = super::open(&args.file)?;
    let failed = |unanswered| super::failed(&config, unanswered);
    let mut logs = topic.look(dlq::LIMIT).map_err(failed)?;
    let mut from = BTreeMap::new();
    if !args.at.is_empty() {
        logs.retain(|log| args.at.iter().any(|place| place.0 == log.partition.partition));
        for Place(partition, offset) in &args.at {
            let first = from.entry(*partition).or_insert(*offset);
            *first = (*first).min(*offset);
        }
    }
    let filter = args.selection.filter(&config.name, true);
    let limit = args.limit.unwrap_or(if args.at.is_empty() { DEFAULT } else { u64::MAX });
    let (mut shown, mut has_more, mut ended) = (0_u64, false, Ok(()));
    let named = args.at.iter().collect::<BTreeSet<_>>().len() as u64;
    let read = dlq::read(&topic, &logs, &from, |partition, offset, letter| {
        let is_wanted = args.at.is_empty() || args.at.contains(&Place(partition, offset));
        let Some(letter) = letter.filter(|letter| is_wanted && filter.takes(letter)) else {
            return ControlFlow::Continue(());
        };
        if shown == limit {
            has_more = true;
            return ControlFlow::Break(());
        }
        shown += 1;
        let text = match args.format {
            Format::Text => text(&letter),
            Format::Json => format!("{}\n", json(&letter)),
        };
        match print::data(&text) {
            Ok(Reader::There) if named == 0 || shown < named => ControlFlow::Continue(()),
            Ok(Reader::There | Reader::Gone) => ControlFlow::Break(()),
            Err(exit) => {
                ended = Err(exit);
                ControlFlow::Break(())
            }
        }
    });
    ended?;
    read.map_err(failed)?;
    if shown == 0 {
        telemetry::tell("there are no such dead letters");
    } else if has_more && args.format == Format::Text {
        telemetry::tell(&format!("the first {shown} are shown; --limit shows more"));
    }
    Ok(())
}

fn text(letter: &Letter) -> String {
    let failure = &letter.failure;
    let safe = |text: &str| print::text(Some(text.as_bytes()));
    let mut lines =
        vec![format!("partition {}, offset {}: {}", letter.partition, letter.offset, safe(&letter.source()))];
    let mut add = |name: &str, value: String| lines.push(format!("  {name:<10} {value}"));
    add("failed", format!("{} {}", time::shown(letter.at_ms), safe(&failure.line())));
    let tries = failure.tries.map_or_else(|| "unknown".to_owned(), |tries| tries.to_string());
    add("tries", format!("{tries}, replayed {}", failure.replays));
    if !failure.digest.is_empty() {
        add("component", safe(&failure.digest));
    }
    add("timestamp", letter.record.timestamp.map_or_else(|| "none".to_owned(), time::shown));
    add("key", print::text(letter.record.key.as_deref()));
    for (name, value) in &letter.record.headers {
        add("header", format!("{}: {}", print::text(Some(name)), print::text(value.as_deref())));
    }
    add("value", print::text(letter.record.value.as_deref()));
    for line in failure.backtrace.lines() {
        add("trace", safe(line));
    }
    lines.join("\n") + "\n"
}

/// The record's fields are named as in `--format record`, which reads them back.
fn json(letter: &Letter) -> Value {
    let failure = &letter.failure;
    let headers = letter.record.headers.iter();
    let headers: Vec<Value> =
        headers.map(|(name, value)| json!([line::json(Some(name)), line::json(value.as_deref())])).collect();
    json!({
        "partition": letter.partition,
        "offset": letter.offset,
        "source": { "topic": &*failure.source.topic, "partition": failure.source.partition, "offset": failure.offset },
        "failed": time::shown(letter.at_ms),
        "pipeline": failure.pipeline,
        "step": failure.step,
        "kind": failure.kind,
        "code": failure.code,
        "reason": failure.reason,
        "backtrace": failure.backtrace,
        "tries": failure.tries,
        "replays": failure.replays,
        "component": failure.digest,
        "record": {
            "key": line::json(letter.record.key.as_deref()),
            "value": line::json(letter.record.value.as_deref()),
            "headers": headers,
            "timestamp": letter.record.timestamp,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_partition_and_an_offset() {
        assert_eq!("2:17".parse(), Ok(Place(2, 17)));
        for wrong in ["", "2", "2:", "a:1", "-1:0", "1:-1", "1:2:3"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
