//! Hides fields of JSON objects: `email`, `phone` and `name` at any depth, or those that the paths in `settings.fields` match.
//!
//! A field is hidden whatever its value is; everything else stays byte for byte the same. Tombstones are forwarded. A value that isn't
//! JSON is rejected with the code `bad-json`, so that personal data can't pass unmasked. Records with a header `audit` are also sent
//! unmasked to the port `audit`, if the pipeline has it.
//!
//! `settings` parses the settings, and `hide` writes the replacements.

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
    /// How each path's values are hidden.
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

wasmill_sdk::export!(Mask, ports = ["audit"], codes = ["bad-json"], settings = "settings.schema.json");

#[cfg(test)]
mod tests;
