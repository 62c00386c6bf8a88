//! Adds to each record what a table has for it: settings `table`, the path of a JSON object of texts; `key`, the member whose text is looked
//! up there; and `add`, the name of the new member.
//!
//! It is an example of files, which a step's `allow` has to grant. The table is read once: a reload reads it again. A record that the table
//! doesn't know is rejected.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use wasmill_sdk::Emitter;
use wasmill_sdk::Record;
use wasmill_sdk::Transform;
use wasmill_sdk::Verdict;
use wasmill_sdk::files;
use wasmill_sdk::reject;

#[derive(Deserialize)]
struct Settings {
    table: String,
    key: String,
    add: String,
}

struct Lookup {
    table: BTreeMap<String, String>,
    key: String,
    add: String,
}

impl Transform for Lookup {
    fn init(settings: &str, _ports: &[String]) -> Result<Self, String> {
        let Settings { table, key, add } =
            serde_json::from_str(settings).map_err(|error| format!("settings: {error}"))?;
        let text = files::read(&table).map_err(|error| error.to_string())?;
        let table = serde_json::from_slice(&text).map_err(|error| format!("{table}: {error}"))?;
        Ok(Lookup { table, key, add })
    }

    fn process(&mut self, record: Record<'_>, out: &mut Emitter<'_>) -> Verdict {
        let Some(value) = record.value else {
            out.forward(0);
            return Ok(());
        };
        let document: Value = serde_json::from_slice(value).map_err(|error| reject("bad-json", error))?;
        let key = match document.get(&self.key) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => return Err(reject("no-key", format!("there is no text or number `{}`", self.key))),
        };
        let found = self.table.get(&key).ok_or_else(|| reject("unknown", format!("the table has no `{key}`")))?;
        // An object with a member ends with `}`: the rest stays as it is, to the byte.
        let end = value.iter().rposition(|byte| *byte == b'}').unwrap_or(value.len());
        let added = format!(",{}:{}", Value::from(&*self.add), Value::from(&**found));
        out.output(0).value(Some(&[&value[..end], added.as_bytes(), &value[end..]].concat()));
        Ok(())
    }
}

wasmill_sdk::export!(Lookup);

#[cfg(test)]
mod tests {
    use std::fs;

    use wasmill_sdk::testing::Harness;
    use wasmill_sdk::testing::Input;

    use super::Lookup;

    #[test]
    fn a_record_gets_what_the_table_has() {
        let path = std::env::temp_dir().join(format!("lookup-{}.json", std::process::id()));
        fs::write(&path, "{\"7\":\"gold\"}").unwrap();
        let settings = format!("{{\"table\":{path:?},\"key\":\"customer\",\"add\":\"tier\"}}");
        let harness = Harness::<Lookup>::new(&settings, &["main"]);
        fs::remove_file(&path).unwrap();
        let mut lookup = harness.unwrap();
        let outputs = lookup.run_one(Input::value("{\"customer\":7, \"n\":1e0}")).unwrap();
        assert_eq!(outputs[0].value.as_deref(), Some(&b"{\"customer\":7, \"n\":1e0,\"tier\":\"gold\"}"[..]));
        let mut failure = |value: &str| lookup.run_one(Input::value(value)).unwrap_err().to_string();
        assert_eq!(failure("{\"customer\":8}"), "reject (unknown): the table has no `8`");
        assert!(failure("[]").starts_with("reject (no-key)"));
    }
}
