//! Random documents and paths: the masked document equals the result of a naive masking of the parsed document.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;
use serde_json::json;
use wasmill_sdk::testing::Harness;
use wasmill_sdk::testing::Input;

use crate::Mask;

const SEED: u64 = 0x5851_f42d_4c95_7f2d;
const NAMES: [&str; 6] = ["a", "b", "name", "e.mail", "\u{e9}", "x\"y"];
const MODES: [&str; 4] = ["stars", "hash", "drop", "last4"];

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// A field name; `None` is any element of an array.
type Part = Option<&'static str>;

/// A position in a document, or a path: the parts from the root. A path of a single name may match at any depth.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Path {
    is_anywhere: bool,
    parts: Vec<Part>,
}

fn path(random: &mut Random) -> Path {
    if random.below(2) == 0 {
        return Path { is_anywhere: true, parts: vec![Some(random.one(&NAMES))] };
    }
    let length = 1 + random.below(3);
    let parts = (0..length).map(|_| if random.below(3) == 0 { None } else { Some(random.one(&NAMES)) }).collect();
    Path { is_anywhere: false, parts }
}

fn written(path: &Path, random: &mut Random) -> String {
    let mut text = String::new();
    if !path.is_anywhere && (path.parts.len() == 1 && path.parts[0].is_some() || random.below(2) == 0) {
        text.push('$');
    }
    for part in &path.parts {
        let Some(name) = part else {
            text.push_str("[]");
            continue;
        };
        if !text.is_empty() {
            text.push('.');
        }
        if name.contains(['.', '"']) || random.below(4) == 0 {
            text.push_str(&escaped(name, random));
        } else {
            text.push_str(name);
        }
    }
    text
}

/// A JSON string in which any character may be escaped.
fn escaped(text: &str, random: &mut Random) -> String {
    let mut escaped = String::from("\"");
    for c in text.chars() {
        if random.below(6) == 0 || c.is_control() {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| write!(escaped, "\\u{unit:04x}").unwrap());
        } else {
            escaped.extend(matches!(c, '"' | '\\').then_some('\\'));
            escaped.push(c);
        }
    }
    escaped + "\""
}

fn document(random: &mut Random, depth: usize, to: &mut String) {
    let space = |random: &mut Random, to: &mut String| to.push_str(random.one(&["", "", "", " ", "\n\t"]));
    space(random, to);
    match random.below(if depth == 0 { 4 } else { 8 }) {
        0 => to.push_str(random.one(&["null", "true", "-7", "0", "1.5e3"])),
        1..4 => {
            let length = random.below(12);
            let text: String =
                (0..length).map(|_| random.one(&['a', '1', '\u{e9}', '\u{1f600}', '"', '\\', '\n'])).collect();
            to.push_str(&escaped(&text, random));
        }
        kind => {
            let (open, close) = if kind % 2 == 0 { ('{', '}') } else { ('[', ']') };
            to.push(open);
            let first = random.below(NAMES.len());
            for at in 0..random.below(5) {
                to.extend((at > 0).then_some(','));
                if open == '{' {
                    space(random, to);
                    // No name occurs twice: parsing would keep only the last one.
                    let name = NAMES[(first + at) % NAMES.len()];
                    to.push_str(&escaped(name, random));
                    space(random, to);
                    to.push(':');
                }
                document(random, depth - 1, to);
            }
            space(random, to);
            to.push(close);
        }
    }
    space(random, to);
}

/// The mode for the value at a position, if it is hidden: that of the path from the root, otherwise that of the single name.
fn mode_at(modes: &BTreeMap<Path, &'static str>, place: &[Part]) -> Option<&'static str> {
    let from_root = Path { is_anywhere: false, parts: place.to_vec() };
    let alone = Path { is_anywhere: true, parts: place.last().copied().into_iter().collect() };
    modes.get(&from_root).or_else(|| modes.get(&alone)).copied()
}

/// Masks a value, and returns whether it is kept.
fn masked(value: &mut Value, modes: &BTreeMap<Path, &'static str>, place: &mut Vec<Part>, count: &mut usize) -> bool {
    if let Some(mode) = mode_at(modes, place) {
        *count += 1;
        let text = value.as_str().map(|text| text.chars().collect::<Vec<_>>());
        *value = match (mode, text) {
            ("last4", Some(text)) if text.len() >= 8 => {
                let (hidden, shown) = text.split_at(text.len() - 4);
                (hidden.iter().map(|_| '*').collect::<String>() + &shown.iter().collect::<String>()).into()
            }
            ("hash", _) => json!({ "hash": null }),
            _ => "***".into(),
        };
        return mode != "drop";
    }
    match value {
        Value::Object(fields) => fields.retain(|name, value| {
            place.push(NAMES.into_iter().find(|known| known == name));
            let stays = masked(value, modes, place, count);
            place.pop();
            stays
        }),
        Value::Array(elements) => elements.retain_mut(|value| {
            place.push(None);
            let stays = masked(value, modes, place, count);
            place.pop();
            stays
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    true
}

/// Whether the two are equal, where hashes always count as equal.
fn is_same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let same = |(name, ours): (&String, &Value)| theirs.get(name).is_some_and(|theirs| is_same(ours, theirs));
            ours.len() == theirs.len() && ours.iter().all(same)
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| is_same(ours, theirs))
        }
        (Value::String(hash), Value::Object(fields)) if fields.contains_key("hash") => hash.len() == 64,
        (ours, theirs) => ours == theirs,
    }
}

#[test]
fn a_masked_document_equals_the_result_of_a_naive_masking() {
    let mut random = Random(SEED);
    let random = &mut random;
    let (mut unchanged, mut changed) = (0, 0);
    for _ in 0..2000 {
        let modes: BTreeMap<_, _> = (0..random.below(5)).map(|_| (path(random), random.one(&MODES))).collect();
        let fields: Vec<_> =
            modes.iter().map(|(path, mode)| json!({ "path": written(path, random), "mode": mode })).collect();
        let mut settings = json!({ "fields": fields });
        if modes.values().any(|mode| *mode == "hash") {
            settings["key"] = "0123456789abcdef".into();
        }
        let settings = settings.to_string();
        let mut mask = Harness::<Mask>::new(&settings, &["main"]).expect(&settings);
        for _ in 0..20 {
            let mut text = String::new();
            document(random, 4, &mut text);
            let outputs = mask.run_one(Input::value(text.clone())).unwrap();
            let ours = String::from_utf8(outputs[0].value.clone().unwrap()).unwrap();
            let (mut theirs, mut count) = (serde_json::from_str(&text).unwrap(), 0);
            masked(&mut theirs, &modes, &mut Vec::new(), &mut count);
            let parsed = serde_json::from_str(&ours).expect(&ours);
            assert!(is_same(&parsed, &theirs), "{text} became {ours} and not {theirs} by {settings}");
            assert!(count > 0 || ours == text, "{text} became {ours} by {settings}");
            if ours == text {
                unchanged += 1;
            } else {
                changed += 1;
            }
        }
    }
    assert!(unchanged > 1000 && changed > 1000, "of the documents {changed} were changed, and {unchanged} were not");
}
