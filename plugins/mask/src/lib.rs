//! Hides fields of JSON objects: `email`, `phone` and `name`, or those that `settings.fields` names.
//!
//! Only fields at the top of the object are hidden, whatever their value is; everything else stays byte for byte. Tombstones go
//! on as they are; a value that isn't JSON is rejected with the code `bad-json`, so that nothing personal slips through unread.
//! Records with a header `audit` also go to the port `audit`, where the pipeline has one, unmasked.

use wasmill_sdk::Emitter;
use wasmill_sdk::Record;
use wasmill_sdk::Transform;
use wasmill_sdk::Verdict;
use wasmill_sdk::json;
use wasmill_sdk::reject;

/// What a hidden field holds afterwards, as JSON.
const HIDDEN: &str = r#""***""#;

struct Mask {
    fields: Vec<String>,
    audit: Option<u32>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default = "personal")]
    fields: Vec<String>,
}

fn personal() -> Vec<String> {
    ["email", "phone", "name"].map(String::from).into()
}

impl Transform for Mask {
    fn init(settings: &str, ports: &[String]) -> Result<Self, String> {
        let Settings { fields } = serde_json::from_str(settings).map_err(|e| e.to_string())?;
        let audit = (0..).zip(ports).find(|(_, port)| *port == "audit").map(|(index, _)| index);
        Ok(Mask { fields, audit })
    }

    fn process(&mut self, record: Record<'_>, out: &mut Emitter<'_>) -> Verdict {
        if let Some(port) = self.audit.filter(|_| record.header("audit").is_some()) {
            out.forward(port);
        }
        let Some(value) = record.value else {
            out.forward(0);
            return Ok(());
        };
        let hide = |name: &[u8]| self.fields.iter().any(|field| field.as_bytes() == name).then_some(HIDDEN);
        out.output(0).write(|to| json::splice(value, to, hide)).map_err(|e| reject("bad-json", e))
    }
}

wasmill_sdk::export!(Mask, ports = ["audit"], settings = "settings.schema.json");

#[cfg(test)]
mod tests;
