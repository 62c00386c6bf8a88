//! Adds headers that say when and where a record was processed: `processed-at`, in milliseconds since 1970-01-01 UTC; `region`,
//! from the environment variable `REGION` if the step defines it; and `process-id`, a random number that an instance keeps.
//!
//! It is an example of a step's `allow`. It has no settings.

use wasmill_sdk::Emitter;
use wasmill_sdk::Header;
use wasmill_sdk::Record;
use wasmill_sdk::Transform;
use wasmill_sdk::Verdict;
use wasmill_sdk::grants;

struct Stamp {
    region: Option<String>,
    id: String,
}

impl Transform for Stamp {
    fn init(_settings: &str, _ports: &[String]) -> Result<Self, String> {
        Ok(Stamp { region: grants::env("REGION"), id: format!("{:016x}", grants::random()) })
    }

    fn process(&mut self, record: Record<'_>, out: &mut Emitter<'_>) -> Verdict {
        let now = grants::now().as_millis().to_string();
        let region = self.region.as_deref().map(|region| Header::new("region", region.as_bytes()));
        let stamps = [Header::new("processed-at", now.as_bytes()), Header::new("process-id", self.id.as_bytes())];
        out.output(0).headers(record.headers().iter().chain(stamps).chain(region)).send();
        Ok(())
    }
}

wasmill_sdk::export!(Stamp);

#[cfg(test)]
mod tests {
    use wasmill_sdk::testing::Harness;
    use wasmill_sdk::testing::Input;

    use super::Stamp;

    #[test]
    fn headers_are_appended_to_existing_ones() {
        let mut stamp = Harness::<Stamp>::new("{}", &["main"]).unwrap();
        let outputs = stamp.run_one(Input::value("a").header("trace", "1")).unwrap();
        let names: Vec<&[u8]> = outputs[0].headers.iter().map(|(name, _)| &name[..]).collect();
        assert_eq!(names[..3], [&b"trace"[..], b"processed-at", b"process-id"]);
        let at: u64 = String::from_utf8(outputs[0].headers[1].1.clone().unwrap()).unwrap().parse().unwrap();
        assert!(at > 1_700_000_000_000, "{at}");
    }
}
