//! The plugins of the benchmarks. Each does one thing, as real plugins do, and is a component of its own: see
//! `examples/`.

use serde_json::Value;
use wasmill_sdk::Emitter;
use wasmill_sdk::Record;
use wasmill_sdk::Transform;
use wasmill_sdk::Verdict;
use wasmill_sdk::json;
use wasmill_sdk::reject;

/// Defines a plugin without settings from a function.
macro_rules! plugin {
    ($(#[$doc:meta])* $name:ident, $process:expr) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;

        impl Transform for $name {
            fn init(_: &str, _: &[String]) -> Result<Self, String> {
                Ok($name)
            }

            #[inline]
            fn process(&mut self, record: Record<'_>, out: &mut Emitter<'_>) -> Verdict {
                $process(record, out)
            }
        }
    };
}

plugin! {
    /// Copies all bytes of key, value and headers.
    Copy,
    |record: Record<'_>, out: &mut Emitter<'_>| {
        out.output(0).key(record.key).headers(record.headers()).value(record.value);
        Ok(())
    }
}

plugin! {
    /// Forwards every record by reference.
    Forward,
    |_, out: &mut Emitter<'_>| {
        out.forward(0);
        Ok(())
    }
}

plugin! {
    /// Forwards records whose value ends in an even byte: every second record if the last byte is that of a counter.
    Filter,
    |record: Record<'_>, out: &mut Emitter<'_>| {
        if record.value.and_then(<[u8]>::last).is_some_and(|byte| byte % 2 == 0) {
            out.forward(0);
        }
        Ok(())
    }
}

plugin! {
    /// Parses the value, replaces the fields `email` and `phone`, and serializes it.
    Json, edit
}

plugin! {
    /// Replaces the same fields without parsing the value into a tree.
    Splice, splice
}

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

fn splice(record: Record<'_>, out: &mut Emitter<'_>) -> Verdict {
    let Some(value) = record.value else {
        out.forward(0);
        return Ok(());
    };
    let hide = |name: &[u8]| (name == b"email" || name == b"phone").then_some(r#""***""#);
    out.output(0).write(|to| json::splice(value, to, hide)).map_err(|e| reject("bad-json", e))
}

#[cfg(test)]
mod tests {
    use wasmill_sdk::testing::Emitted;
    use wasmill_sdk::testing::Harness;
    use wasmill_sdk::testing::Input;

    use super::*;

    fn run<T: Transform>(value: &str) -> Vec<Emitted> {
        let input = Input::value(value).key("k").header("h", "v").null_header("h").timestamp(3);
        Harness::<T>::new("", &["main"]).unwrap().run_one(input).unwrap()
    }

    #[test]
    fn copy_emits_the_same_as_forward() {
        assert_eq!(run::<Copy>("value").len(), 1);
        assert_eq!(run::<Copy>("value"), run::<Forward>("value"));
    }

    #[test]
    fn the_filter_depends_on_the_last_byte() {
        assert_eq!(run::<Filter>("0").len(), 1);
        assert_eq!(run::<Filter>("1").len(), 0);
    }

    #[test]
    fn json_replaces_two_fields() {
        let value = r#"{"email":"a","id":1,"phone":"2"}"#;
        for outputs in [run::<Json>(value), run::<Splice>(value)] {
            assert_eq!(outputs[0].value.as_deref(), Some(&br#"{"email":"***","id":1,"phone":"***"}"#[..]));
        }
    }
}
