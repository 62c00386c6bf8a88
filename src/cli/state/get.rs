//! `wasmill state get`: prints the open windows of a key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args as ClapArgs;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Asked;
use super::list;
use super::member;
use super::member::Place;
use crate::cli::exit_code::Exit;
use crate::cli::http::HttpAnswer;
use crate::cli::print;
use crate::telemetry;

/// Prints the open windows of a key, each with the value that its result would have now.
///
/// Values are committed: what a running transaction has added is not there yet. The process at the file's `http.listen` is asked, and the
/// members of its group that it names. Exit code 1: no process has the key, or not all could be asked.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill state get orders.toml eu-17
  wasmill state get orders.toml eu-17 --json | jq '.windows[].value'
  wasmill state get orders.toml --at 10.0.0.7:9108 --base64 AAEC")]
pub(super) struct Args {
    #[command(flatten)]
    asked: Asked,
    /// The key
    #[arg(value_name = "KEY", required_unless_present = "null", env = "WASMILL_KEY")]
    key: Option<String>,
    /// The key is base64
    #[arg(long, conflicts_with = "null", env = "WASMILL_BASE64")]
    base64: bool,
    /// The null key
    #[arg(long, env = "WASMILL_NULL")]
    null: bool,
}

#[derive(Deserialize)]
struct KeyAnswer<'a> {
    partition: i32,
    applied: i64,
    watermark: Value,
    #[serde(borrow)]
    windows: Vec<AnsweredWindow<'a>>,
    #[serde(default)]
    more: bool,
}

#[derive(Deserialize)]
struct AnsweredWindow<'a> {
    from: Value,
    to: Value,
    #[serde(borrow)]
    value: &'a RawValue,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let place = Place::of(&args.asked)?;
    let (path, here) = paths(args, &place.path)?;
    let first = member::ask(&place.address, &path).map_err(|why| member::unreached(&why))?;
    if first.status == 200 {
        return print_key(&first, args.asked.json);
    }
    let others = match first.status {
        404 | 421 => member::others(&first.body).ok_or_else(|| member::refused(&first))?,
        _ => return Err(member::refused(&first)),
    };
    let mut unasked = Vec::new();
    for other in &others {
        let Some(address) = &other.address else {
            unasked.push(member::has_no_address(other));
            continue;
        };
        match member::ask(address, &here) {
            Ok(answer) if answer.status == 200 => return print_key(&answer, args.asked.json),
            Ok(answer) if answer.status == 404 => {}
            Ok(answer) => unasked.push(format!("{address}: {}", member::refused(&answer).message())),
            Err(why) => unasked.push(why),
        }
    }
    if unasked.is_empty() {
        return Err(Exit::Stopped("the key has no open window".to_owned()));
    }
    Err(Exit::Stopped(format!("the key has no open window where it was looked for; {}", member::unasked(&unasked))))
}

/// The path of the key, and the path that asks for the key without sending the question on.
fn paths(args: &Args, step: &str) -> Result<(String, String), Exit> {
    let key = args.key.as_deref().unwrap_or_default();
    if args.null {
        return match key {
            "" => Ok((format!("{step}/?null"), format!("{step}/?null&here"))),
            _ => Err(Exit::Usage("state get: give a KEY or --null, not both".to_owned())),
        };
    }
    let bytes = match args.base64 {
        true => STANDARD.decode(key).map_err(|error| Exit::Usage(format!("state get: KEY is not base64: {error}")))?,
        false => key.as_bytes().to_vec(),
    };
    let path = format!("{step}/{}", member::encoded(&bytes));
    Ok((path.clone(), format!("{path}?here")))
}

fn print_key(answer: &HttpAnswer, json: bool) -> Result<(), Exit> {
    if json {
        return print::data(&format!("{}\n", answer.body.trim_end())).map(drop);
    }
    let Ok(key) = serde_json::from_str::<KeyAnswer<'_>>(&answer.body) else { return Err(member::refused(answer)) };
    let watermark = key.watermark.as_str().unwrap_or("none");
    telemetry::tell(&format!(
        "partition {}, applied up to offset {}, watermark {watermark}",
        key.partition, key.applied
    ));
    let rows = key.windows.iter().map(|window| {
        let time = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        [time(&window.from), time(&window.to), print::text(Some(window.value.get().as_bytes()))]
    });
    print::data(&list::aligned(["FROM", "TO", "VALUE"], rows))?;
    if key.more {
        telemetry::tell("there are more windows: the answer has the oldest ones");
    }
    Ok(())
}
