//! The plugin of the benchmarks. Its setting `mode` chooses what a record costs: `copy`, `forward`, `filter`, `json` or
//! `splice`.

use serde_json::Value;
use wasmill_sdk::Emitter;
use wasmill_sdk::Record;
use wasmill_sdk::Transform;
use wasmill_sdk::Verdict;
use wasmill_sdk::json;
use wasmill_sdk::reject;

#[derive(Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// Identity that copies all bytes of key, value and headers.
    Copy,
    /// Identity by reference.
    Forward,
    /// Forwards records whose value ends in an even byte: of values that end in a counter's lowest byte, every second.
    Filter,
    /// Parses the value, replaces the fields `email` and `phone`, and writes it.
    Json,
    /// The same without a tree of the value.
    Splice,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Bench {
    mode: Mode,
}

impl Transform for Bench {
    fn init(settings: &str, _ports: &[String]) -> Result<Self, String> {
        serde_json::from_str(settings).map_err(|e| e.to_string())
    }

    fn process(&mut self, record: Record<'_>, out: &mut Emitter<'_>) -> Verdict {
        match self.mode {
            Mode::Copy => out.output(0).key(record.key).headers(record.headers()).value(record.value),
            Mode::Forward => out.forward(0),
            Mode::Filter => {
                if record.value.and_then(<[u8]>::last).is_some_and(|byte| byte % 2 == 0) {
                    out.forward(0);
                }
            }
            Mode::Json => return edit(record, out),
            Mode::Splice => return splice(record, out),
        }
        Ok(())
    }
}

// Out of line, as a plugin that only copies has no JSON code in its loop.

#[inline(never)]
fn edit(record: Record<'_>, out: &mut Emitter<'_>) -> Verdict {
    let Some(value) = record.value else {
        out.forward(0);
        return Ok(());
    };
    let mut document: Value = serde_json::from_slice(value).map_err(|e| reject("bad-json", e))?;
    for field in ["email", "phone"] {
        if let Some(secret) = document.get_mut(field) {
            *secret = "***".into();
        }
    }
    out.output(0).write(|to| serde_json::to_writer(to, &document)).map_err(|e| reject("bad-json", e))
}

#[inline(never)]
fn splice(record: Record<'_>, out: &mut Emitter<'_>) -> Verdict {
    let Some(value) = record.value else {
        out.forward(0);
        return Ok(());
    };
    let hide = |name: &str| matches!(name, "email" | "phone").then_some(r#""***""#);
    out.output(0).write(|to| json::splice(value, to, hide)).map_err(|e| reject("bad-json", e))
}

wasmill_sdk::export!(Bench);

#[cfg(test)]
mod tests {
    use wasmill_sdk::testing::Emitted;
    use wasmill_sdk::testing::Harness;
    use wasmill_sdk::testing::Input;

    use super::Bench;

    fn run(mode: &str, value: &str) -> Vec<Emitted> {
        let settings = format!(r#"{{"mode":"{mode}"}}"#);
        let input = Input::value(value).key("k").header("h", "v").null_header("h").timestamp(3);
        Harness::<Bench>::new(&settings, &["main"]).unwrap().run_one(input).unwrap()
    }

    #[test]
    fn a_copy_is_what_is_forwarded() {
        assert_eq!(run("copy", "value").len(), 1);
        assert_eq!(run("copy", "value"), run("forward", "value"));
    }

    #[test]
    fn the_filter_goes_by_the_last_byte() {
        assert_eq!(run("filter", "0").len(), 1);
        assert_eq!(run("filter", "1").len(), 0);
    }

    #[test]
    fn json_replaces_two_fields() {
        for mode in ["json", "splice"] {
            let outputs = run(mode, r#"{"email":"a","id":1,"phone":"2"}"#);
            assert_eq!(outputs[0].value.as_deref(), Some(&br#"{"email":"***","id":1,"phone":"***"}"#[..]));
        }
    }
}
