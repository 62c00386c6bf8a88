//! `wasmill dlq list`: counts dead letters by reason.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use clap::Args as ClapArgs;
use clap::ValueEnum;
use serde_json::json;

use super::Selection;
use crate::cli::args::PipelineFile;
use crate::cli::exit_code::Exit;
use crate::cli::print;
use crate::cli::time;
use crate::dlq;
use crate::dlq::Choice;
use crate::dlq::Counts;
use crate::dlq::Filter;
use crate::dlq::Letter;
use crate::dlq::Row;
use crate::dlq::Scan;
use crate::kafka::topic_reader::PartitionLog;
use crate::telemetry;

/// Counts the dead letters of a pipeline by step, kind of failure, code and input partition, the most frequent first.
///
/// LEFT counts those that no `replay` has replayed. It reads the whole topic, joins no group and changes nothing.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill dlq list orders.toml
  wasmill dlq list orders.toml --since 2h --step mask
  wasmill dlq list orders.toml --format json")]
pub(super) struct Args {
    #[command(flatten)]
    file: PipelineFile,
    #[command(flatten)]
    selection: Selection,
    /// Print at most this many lines
    #[arg(long, value_name = "N", value_parser = super::limit(), env = "WASMILL_LIMIT")]
    limit: Option<u64>,
    /// How they are printed
    #[arg(long, value_enum, default_value = "text", env = "WASMILL_FORMAT")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// A JSON object on each line
    Json,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let (config, topic) = super::open(&args.file)?;
    let failed = |unanswered| super::failed(&config, unanswered);
    let logs = topic.look(dlq::LIMIT).map_err(failed)?;
    // However often it was replayed: what no replay has taken is left.
    let all = Filter { pipeline: Some(config.name.clone()), force: true, ..Filter::default() };
    let scan = |log: &PartitionLog| (log.partition.partition, Scan::new(all.clone(), log));
    let scans: BTreeMap<i32, Scan> = logs.iter().map(scan).collect();
    let filter = args.selection.filter(&config.name, true);
    let mut counts = Counts::default();
    let counted = dlq::read(&topic, &logs, &BTreeMap::new(), |partition, _, letter| {
        let choice = |letter: &Letter| scans.get(&partition).map_or(Choice::Foreign, |scan| scan.judge(letter));
        match letter.map(|letter| (choice(&letter), letter)) {
            None | Some((Choice::Foreign, _)) => counts.foreign += 1,
            Some((choice, letter)) if filter.takes(&letter) => counts.add(&letter, choice),
            Some(_) => {}
        }
        ControlFlow::Continue(())
    });
    counted.map_err(failed)?;
    if counts.foreign > 0 && args.format == Format::Text {
        let what = "left out: other pipelines or programs wrote them to the topic";
        telemetry::tell(&format!("{} records {what}", counts.foreign));
    }
    let mut rows = counts.rows();
    rows.truncate(args.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)));
    match args.format {
        Format::Json => rows.iter().try_for_each(|row| print::data(&format!("{}\n", json(row))).map(drop)),
        Format::Text if rows.is_empty() => {
            telemetry::tell("there are no such dead letters");
            Ok(())
        }
        Format::Text => print::data(&table(&rows, time::now_ms())).map(drop),
    }
}

fn json(row: &Row) -> serde_json::Value {
    json!({
        "step": row.step,
        "kind": row.kind,
        "code": row.code,
        "topic": row.topic,
        "partition": row.partition,
        "records": row.records,
        "left": row.left,
        "first": time::shown(row.at_ms.0),
        "last": time::shown(row.at_ms.1),
    })
}

/// Aligned columns; numbers to the right.
fn table(rows: &[Row], now_ms: i64) -> String {
    let head = ["STEP", "KIND", "CODE", "INPUT", "RECORDS", "LEFT", "OLDEST", "NEWEST"].map(str::to_owned);
    let cells = |row: &Row| {
        let text = |text: &str| print::text(Some(if text.is_empty() { "-" } else { text }.as_bytes()));
        [
            text(&row.step),
            text(&row.kind),
            text(&row.code),
            text(&format!("{}[{}]", row.topic, row.partition)),
            row.records.to_string(),
            row.left.to_string(),
            time::age(row.at_ms.0, now_ms),
            time::age(row.at_ms.1, now_ms),
        ]
    };
    let lines: Vec<[String; 8]> = std::iter::once(head).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 8] = std::array::from_fn(width);
    let mut text = String::new();
    for line in &lines {
        let cell = |(column, cell): (usize, &String)| match column {
            4 | 5 => format!("{cell:>width$}", width = widths[column]),
            _ => format!("{cell:<width$}", width = widths[column]),
        };
        let line: Vec<String> = line.iter().enumerate().map(cell).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_a_name_can_not_move_the_cursor() {
        let row = |step: &str, records| Row {
            step: step.into(),
            kind: "reject".into(),
            code: "bad-json".into(),
            topic: "orders".into(),
            partition: 3,
            records,
            left: 7,
            at_ms: (0, 60_000),
        };
        let expected = "\
STEP     KIND    CODE      INPUT      RECORDS  LEFT  OLDEST  NEWEST
mask     reject  bad-json  orders[3]     1200     7  2m      1m
-        reject  bad-json  orders[3]        1     7  2m      1m
\\u{1b}x  reject  bad-json  orders[3]        1     7  2m      1m
";
        assert_eq!(table(&[row("mask", 1200), row("", 1), row("\x1bx", 1)], 120_000), expected);
    }
}
