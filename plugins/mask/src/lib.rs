//! Hides fields of JSON objects: `email`, `phone` and `name` at any depth, or those that `settings.fields` has paths of.
//!
//! Whatever the value of such a field is, it is hidden; everything else stays byte for byte. Tombstones go on as they are; a value that
//! isn't JSON is rejected with the code `bad-json`, so that nothing personal slips through unread.
//! Records with a header `audit` also go to the port `audit`, where the pipeline has one, unmasked.
//!
//! `settings` reads the settings, and `hide` writes what takes a value's place.

mod hide;
mod settings;

use wasmill_sdk::Emitter;
use wasmill_sdk::Record;
use wasmill_sdk::Transform;
use wasmill_sdk::Verdict;
use wasmill_sdk::json;
use wasmill_sdk::json::Paths;
use wasmill_sdk::reject;

use hide::Hide;

struct Mask {
    paths: Paths,
    /// What is done at each of the paths.
    hide: Vec<Hide>,
    audit: Option<u32>,
}

impl Transform for Mask {
    fn init(settings: &str, ports: &[String]) -> Result<Self, String> {
        let (paths, hide) = settings::parse(settings)?;
        let audit = (0..).zip(ports).find(|(_, port)| *port == "audit").map(|(index, _)| index);
        Ok(Mask { paths, hide, audit })
    }

    fn process(&mut self, record: Record<'_>, out: &mut Emitter<'_>) -> Verdict {
        if let Some(port) = self.audit.filter(|_| record.header("audit").is_some()) {
            out.forward(port);
        }
        let Some(value) = record.value else {
            out.forward(0);
            return Ok(());
        };
        let edit = |path: usize, value: &[u8], to: &mut Vec<u8>| self.hide[path].edit(value, to);
        out.output(0).write(|to| json::splice_paths(value, to, &self.paths, edit)).map_err(|e| reject("bad-json", e))
    }
}

wasmill_sdk::export!(Mask, ports = ["audit"], settings = "settings.schema.json");

#[cfg(test)]
mod tests;
