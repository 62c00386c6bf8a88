//! A plugin with state for tests that finds keys and times: of the value `KEY MS`, the first word is the key and the second the time.
//!
//! A value with the key `drop` is dropped, one without a time is rejected with the code `no-time`, and one with the key `null` has the null key.
//! Each result is `{"key":"k","count":2}`.

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

impl Reduce for Count {
    type Acc = u64;

    fn init(_settings: &str, _ports: &[String]) -> Result<Self, String> {
        Ok(Count)
    }

    fn add(&mut self, count: &mut u64, _record: Record<'_>) -> Verdict {
        *count += 1;
        Ok(())
    }

    fn merge(&mut self, count: &mut u64, later: u64) {
        *count += later;
    }

    fn emit(&mut self, window: Window<'_>, count: &u64, out: &mut Emitter<'_>) -> Verdict {
        let result = json!({ "key": window.key_text(), "count": count });
        out.output(0).write(|to| serde_json::to_writer(to, &result)).map_err(error)
    }
}

impl KeyBy for Count {
    fn key(&mut self, record: Record<'_>, key: KeyBuffer<'_>) -> Result<Keyed, Failure> {
        let text = String::from_utf8_lossy(record.value.unwrap_or_default());
        let (name, time) = text.split_once(' ').unwrap_or((&text, ""));
        let time = || time.parse().map_err(|e| reject("no-time", e));
        match name {
            "drop" => Ok(key.drop()),
            "null" => Ok(key.null().at(time()?)),
            name => Ok(key.bytes(name.as_bytes()).at(time()?)),
        }
    }
}

wasmill_sdk::export_reduce!(Count, keys, codes = ["no-time"]);
