//! The next version of `plugins/keyed`, for tests: its cells have a field more, and it reads those of the version before.
//!
//! Keys and times are found as there. Each result is `{"key":"k","count":5,"before":3}`: `before` counts the records that the version
//! before has counted.

use serde::Deserialize;
use serde::Serialize;
use serde_json::json;
use wasmill_sdk::Emitter;
use wasmill_sdk::Failure;
use wasmill_sdk::KeyBuffer;
use wasmill_sdk::KeyBy;
use wasmill_sdk::Keyed;
use wasmill_sdk::Record;
use wasmill_sdk::Reduce;
use wasmill_sdk::Verdict;
use wasmill_sdk::Window;
use wasmill_sdk::error;
use wasmill_sdk::reject;

struct Count;

#[derive(Default, Serialize, Deserialize)]
struct Counted {
    records: u64,
    before: u64,
}

impl Reduce for Count {
    type Acc = Counted;

    const STATE_VERSION: u8 = 2;

    fn init(_settings: &str, _ports: &[String]) -> Result<Self, String> {
        Ok(Count)
    }

    fn add(&mut self, counted: &mut Counted, _record: Record<'_>) -> Verdict {
        counted.records += 1;
        Ok(())
    }

    fn merge(&mut self, counted: &mut Counted, later: Counted) {
        counted.records += later.records;
        counted.before += later.before;
    }

    fn emit(&mut self, window: Window<'_>, counted: &Counted, out: &mut Emitter<'_>) -> Verdict {
        let result = json!({ "key": window.key_text(), "count": counted.records, "before": counted.before });
        out.output(0).write(|to| serde_json::to_writer(to, &result)).map_err(error)
    }

    fn upgrade(version: u8, bytes: &[u8]) -> Option<Counted> {
        let before = if version == 1 { wasmill_sdk::decode(bytes)? } else { return None };
        Some(Counted { records: before, before })
    }
}

impl KeyBy for Count {
    fn key(&mut self, record: Record<'_>, key: KeyBuffer<'_>) -> Result<Keyed, Failure> {
        let text = String::from_utf8_lossy(record.value.unwrap_or_default());
        let (name, time) = text.split_once(' ').ok_or_else(|| reject("no-time", "it has one word"))?;
        let time = time.parse().map_err(|e| reject("no-time", e))?;
        Ok(key.bytes(name.as_bytes()).at(time))
    }
}

wasmill_sdk::export_reduce!(Count, keys, codes = ["no-time"], reads = [1, 2]);
