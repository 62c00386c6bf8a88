//! Runs a jq program on each record: the input is the value as JSON, and each result becomes an output record.
//!
//! `settings.program` is that program. `settings.port` and `settings.key` are programs that get a result and return the name of
//! its output and its key; without them the result goes to `main` and keeps the key of its record. Headers and the timestamp are
//! kept. Tombstones are forwarded to `main`. A value that isn't JSON is rejected with the code `bad-json`, an error of a program
//! with `jq-error`, and an output that the pipeline doesn't have with `bad-port`.

mod dates;
mod functions;
mod json;
mod program;
mod regexes;

use jaq_json::Val;
use wasmill_sdk::Emitter;
use wasmill_sdk::Failure;
use wasmill_sdk::Record;
use wasmill_sdk::Transform;
use wasmill_sdk::Verdict;
use wasmill_sdk::reject;

use crate::program::Program;

/// The maximum number of results per record: it stops an endless program before that fills the memory.
const OUTPUTS_MAX: usize = 10_000;
/// The maximum size of an error message. Some of jq's messages quote the whole value.
const MESSAGE_MAX: usize = 500;

struct Jq {
    program: Program,
    port: Option<Program>,
    key: Option<Program>,
    /// The names of the outputs, indexed by port.
    ports: Vec<String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    program: String,
    port: Option<String>,
    key: Option<String>,
}

impl Transform for Jq {
    fn init(settings: &str, ports: &[String]) -> Result<Self, String> {
        let Settings { program, port, key } = serde_json::from_str(settings).map_err(|e| e.to_string())?;
        let compile = |name, text: Option<String>| text.map(|text| Program::compile(name, &text)).transpose();
        Ok(Jq {
            program: Program::compile("program", &program)?,
            port: compile("port", port)?,
            key: compile("key", key)?,
            ports: ports.to_vec(),
        })
    }

    fn process(&mut self, record: Record<'_>, out: &mut Emitter<'_>) -> Verdict {
        let Some(value) = record.value else {
            out.forward(0);
            return Ok(());
        };
        let value = json::parse(value).map_err(|e| reject("bad-json", e))?;
        let bound = self.program.bind(&record);
        let port = self.port.as_ref().map(|program| program.bind(&record));
        let key = self.key.as_ref().map(|program| program.bind(&record));
        for (number, result) in bound.run(value).enumerate() {
            if number == OUTPUTS_MAX {
                return Err(reject(
                    "jq-error",
                    format!("`program` gives more than {OUTPUTS_MAX} results for one record"),
                ));
            }
            let value = result.map_err(failed)?;
            let to = port.as_ref().map_or(Ok(0), |port| self.number_of(port.only(value.clone())))?;
            let key = key.as_ref().map(|key| key.only(value.clone()).and_then(key_of)).transpose().map_err(failed)?;
            let output = out.output(to);
            let output = match &key {
                Some(key) => output.key(key.as_deref()),
                None => output,
            };
            output.write(|to| json::write(&value, to)).map_err(failed)?;
        }
        Ok(())
    }
}

impl Jq {
    /// The port that `settings.port` selects.
    fn number_of(&self, port: Result<Val, String>) -> Result<u32, Failure> {
        let name = match port.map_err(failed)? {
            Val::TStr(name) => name,
            other @ (Val::Null | Val::Bool(_) | Val::Num(_) | Val::BStr(_) | Val::Arr(_) | Val::Obj(_)) => {
                let shown = bounded(json::text(&other));
                return Err(reject("bad-port", format!("`port` gives {shown}, which is not a string")));
            }
        };
        let known = (0..).zip(&self.ports).find(|(_, port)| port.as_bytes() == &name[..]);
        known.map(|(number, _)| number).ok_or_else(|| {
            let shown = bounded(String::from_utf8_lossy(&name).into_owned());
            reject("bad-port", format!("there is no output `{shown}`: there are {}", self.ports.join(", ")))
        })
    }
}

/// The bytes of a key: none for null, the text of a string, and JSON for anything else.
fn key_of(value: Val) -> Result<Option<Vec<u8>>, String> {
    Ok(match value {
        Val::Null => None,
        Val::TStr(text) | Val::BStr(text) => Some(text.to_vec()),
        Val::Bool(_) | Val::Num(_) | Val::Arr(_) | Val::Obj(_) => {
            let mut key = Vec::new();
            json::write(&value, &mut key)?;
            Some(key)
        }
    })
}

fn failed(message: impl Into<String>) -> Failure {
    reject("jq-error", bounded(message.into()))
}

/// A message cut to [`MESSAGE_MAX`] bytes.
fn bounded(mut message: String) -> String {
    if message.len() > MESSAGE_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_MAX - "..".len()));
        message.push_str("..");
    }
    message
}

wasmill_sdk::export!(Jq, codes = ["bad-json", "bad-port", "jq-error"], settings = "settings.schema.json");

#[cfg(test)]
mod tests;
