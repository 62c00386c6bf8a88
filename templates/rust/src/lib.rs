//! Puts a prefix before every value. Change it to what you need.
//! Tombstones are forwarded unchanged; a value that is not text is rejected with the code `bad-text`.

use wasmill_sdk::Emitter;
use wasmill_sdk::Record;
use wasmill_sdk::Transform;
use wasmill_sdk::Verdict;
use wasmill_sdk::reject;

/// The step's `settings`; `settings.schema.json` says the same to `wasmill check`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Plugin {
    prefix: String,
}

impl Transform for Plugin {
    fn init(settings: &str, _ports: &[String]) -> Result<Self, String> {
        serde_json::from_str(settings).map_err(|error| error.to_string())
    }

    fn process(&mut self, record: Record<'_>, out: &mut Emitter<'_>) -> Verdict {
        let Some(value) = record.value else {
            out.forward(0);
            return Ok(());
        };
        let text = std::str::from_utf8(value).map_err(|error| reject("bad-text", error))?;
        out.output(0).value(Some(format!("{}{text}", self.prefix).as_bytes()));
        Ok(())
    }
}

wasmill_sdk::export!(Plugin, settings = "settings.schema.json");

#[cfg(test)]
mod tests {
    use wasmill_sdk::testing::Harness;
    use wasmill_sdk::testing::Input;

    use super::Plugin;

    #[test]
    fn a_value_gets_the_prefix() {
        let mut plugin = Harness::<Plugin>::new(r#"{"prefix":"> "}"#, &["main"]).unwrap();
        let outputs = plugin.run_one(Input::value("hello")).unwrap();
        assert_eq!(outputs[0].value.as_deref(), Some(&b"> hello"[..]));
        assert!(plugin.run_one(Input::value([0xff])).is_err());
    }
}
