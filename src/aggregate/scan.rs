//! Finds the fields of a record in one pass over its JSON.
//!
//! The pointers of a step form a trie. The pass follows the trie, skips every other value, and notes where each field's text is, so
//! numbers stay as they are written. Nothing is allocated for a record once [`FoundFields`] has grown. If a name is repeated in an
//! object, the last one counts. Invariant: the pass recurses only along pointers; skipped values of any depth need no stack.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::DeserializeSeed;
use serde::de::Error as _;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde_json::value::RawValue;

use super::json;
use super::json::JsonKind;
use super::pointer::Pointer;
use super::reject::Reject;

/// The pointers of a step, each with the number under which its field is found.
#[derive(Clone, Debug, Default)]
pub(super) struct Scan {
    root: Node,
    pointers: Vec<Pointer>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// The field whose pointer ends here.
    field: Option<usize>,
    children: Vec<Child>,
    /// The fields here and below.
    below: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Child {
    name: String,
    /// The name as an index of an array, if it is one.
    index: Option<usize>,
    node: Node,
}

/// Where the fields of one record are in its value. Reused from record to record.
#[derive(Clone, Debug, Default)]
pub struct FoundFields {
    /// The text of each field, by the field's number; empty if the record doesn't have it.
    texts: Vec<Range<usize>>,
}

impl FoundFields {
    /// The JSON text of a field in the value that was scanned. `None` if it is missing or null.
    pub(super) fn text<'v>(&self, value: Option<&'v [u8]>, field: usize) -> Option<&'v str> {
        let text = std::str::from_utf8(value?.get(self.texts.get(field)?.clone())?).ok()?;
        if json::kind(text) == JsonKind::Null { None } else { Some(text) }
    }

    /// Whether the field is there and null.
    pub(super) fn is_null(&self, field: usize) -> bool {
        self.texts.get(field).is_some_and(|text| !text.is_empty())
    }
}

impl Scan {
    /// Adds a pointer, if it is not there, and returns the number of its field.
    pub(super) fn add(&mut self, pointer: &Pointer) -> usize {
        if let Some(field) = self.pointers.iter().position(|known| known == pointer) {
            return field;
        }
        let field = self.pointers.len();
        self.pointers.push(pointer.clone());
        let mut node = &mut self.root;
        node.below.push(field);
        for token in pointer.tokens() {
            let at = node.children.iter().position(|child| child.name == *token).unwrap_or_else(|| {
                node.children.push(Child { name: token.clone(), index: index(token), node: Node::default() });
                node.children.len() - 1
            });
            node = &mut node.children[at].node;
            node.below.push(field);
        }
        node.field = Some(field);
        field
    }

    /// Whether there are no pointers, so that values need not be JSON.
    pub(super) fn is_empty(&self) -> bool {
        self.pointers.is_empty()
    }

    /// Finds the fields of a value. A null value has none.
    pub(super) fn scan(&self, value: Option<&[u8]>, found: &mut FoundFields) -> Result<(), Reject> {
        found.texts.clear();
        found.texts.resize(self.pointers.len(), 0..0);
        let Some(value) = value.filter(|_| !self.is_empty()) else { return Ok(()) };
        let value = std::str::from_utf8(value)
            .map_err(|error| bad_json(format!("the value is not UTF-8 text at byte {}", error.valid_up_to())))?;
        let mut pass = Pass { value, found };
        pass.whole(&self.root).map_err(|error| {
            if value.trim_ascii().is_empty() {
                return bad_json("the value is empty, not JSON".to_owned());
            }
            let (what, at) = (without_place(&error), byte(value, error.line(), error.column()));
            bad_json(format!("the value is not JSON: {what} at byte {at}"))
        })
    }
}

fn bad_json(reason: String) -> Reject {
    Reject::new("bad-json", reason)
}

struct Pass<'v, 'f> {
    value: &'v str,
    found: &'f mut FoundFields,
}

impl<'v> Pass<'v, '_> {
    fn whole(&mut self, root: &Node) -> serde_json::Result<()> {
        let mut json = serde_json::Deserializer::from_str(self.value);
        if root.field.is_some() {
            self.field(root, &mut json)?;
        } else {
            match json::kind(self.value.trim_ascii_start()) {
                JsonKind::Object => json.deserialize_map(Members { pass: self, node: root })?,
                JsonKind::Array => json.deserialize_seq(Members { pass: self, node: root })?,
                JsonKind::Null | JsonKind::Bool | JsonKind::Number | JsonKind::Text => {
                    IgnoredAny::deserialize(&mut json)?;
                }
            }
        }
        json.end()
    }

    /// Notes where a value is, and looks into it if other pointers go on.
    fn field<D: Deserializer<'v>>(&mut self, node: &Node, json: D) -> Result<(), D::Error> {
        let text = <&RawValue>::deserialize(json)?.get();
        for &field in &node.below {
            self.note(field, 0..0);
        }
        if let Some(field) = node.field {
            let start = (text.as_ptr() as usize).saturating_sub(self.value.as_ptr() as usize);
            self.note(field, start..start + text.len());
        }
        if node.children.is_empty() {
            return Ok(());
        }
        let mut inner = serde_json::Deserializer::from_str(text);
        let members = Members { pass: self, node };
        let looked = match json::kind(text) {
            JsonKind::Object => inner.deserialize_map(members),
            JsonKind::Array => inner.deserialize_seq(members),
            JsonKind::Null | JsonKind::Bool | JsonKind::Number | JsonKind::Text => Ok(()),
        };
        // The text was checked when it was skipped, but for names with half of a surrogate pair.
        looked.map_err(|error| D::Error::custom(without_place(&error)))
    }

    fn note(&mut self, field: usize, text: Range<usize>) {
        if let Some(known) = self.found.texts.get_mut(field) {
            *known = text;
        }
    }
}

/// Visits the members of an object or an array.
struct Members<'p, 'n, 'v, 'f> {
    pass: &'p mut Pass<'v, 'f>,
    node: &'n Node,
}

impl<'v> Visitor<'v> for Members<'_, '_, 'v, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'v>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(child) = map.next_key_seed(Name { children: &self.node.children })? {
            match child {
                Some(child) => map.next_value_seed(Member { pass: &mut *self.pass, node: &child.node })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'v>>(self, mut items: A) -> Result<(), A::Error> {
        for at in 0.. {
            let child = self.node.children.iter().find(|child| child.index == Some(at));
            let item = match child {
                Some(child) => items.next_element_seed(Member { pass: &mut *self.pass, node: &child.node })?,
                None => items.next_element::<IgnoredAny>()?.map(drop),
            };
            if item.is_none() {
                break;
            }
        }
        Ok(())
    }
}

/// One member that a pointer leads to.
struct Member<'p, 'n, 'v, 'f> {
    pass: &'p mut Pass<'v, 'f>,
    node: &'n Node,
}

impl<'v> DeserializeSeed<'v> for Member<'_, '_, 'v, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'v>>(self, json: D) -> Result<(), D::Error> {
        self.pass.field(self.node, json)
    }
}

/// A member's name: the child of the trie that has it.
struct Name<'n> {
    children: &'n [Child],
}

impl<'v, 'n> DeserializeSeed<'v> for Name<'n> {
    type Value = Option<&'n Child>;

    fn deserialize<D: Deserializer<'v>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'n> Visitor<'_> for Name<'n> {
    type Value = Option<&'n Child>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.children.iter().find(|child| child.name == name))
    }
}

/// RFC 6901: an index has no leading zeros.
fn index(token: &str) -> Option<usize> {
    let is_index = token == "0" || (!token.starts_with('0') && token.bytes().all(|byte| byte.is_ascii_digit()));
    if is_index { token.parse().ok() } else { None }
}

/// The message without " at line 1 column 10".
fn without_place(error: &serde_json::Error) -> String {
    let message = error.to_string();
    match message.rfind(" at line ") {
        Some(end) if error.line() > 0 => message.get(..end).unwrap_or_default().to_owned(),
        Some(_) | None => message,
    }
}

/// The byte of a place that serde_json tells: lines count from 1, and the column is how many bytes of the line were read.
fn byte(value: &str, line: usize, column: usize) -> usize {
    let lines = value.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum::<usize>();
    (lines + column).min(value.len())
}
