//! Paths to values in JSON documents, compiled so that a walk over a document can look them up quickly.
//!
//! The paths that start at the root form a tree. Each object or array of a document belongs to one node of the tree, or to the node
//! `NOWHERE` if no path leads into it. A name that matches at any depth is an entry of every node, so each field needs one lookup.

use std::fmt;

/// The node of objects and arrays that no path leads into.
const NOWHERE: usize = 0;
/// The node of the document itself.
pub(super) const ROOT: usize = 1;

/// Paths to values in JSON documents, for [`splice_paths`](super::splice_paths).
///
/// | path | matches |
/// |---|---|
/// | `email` | every field `email`, in objects and arrays at any depth |
/// | `customer.email` | the field `email` of the object `customer` of the document |
/// | `items[].sku` | the field `sku` of each element of the array `items` |
/// | `tags[]` | each element of the array `tags` |
/// | `[].email` | the field `email` of each element of a document that is an array |
/// | `$.email` | the field `email` of the document, and none at a deeper level |
///
/// A single name matches at any depth; every other path starts at the root of the document. Names are compared after their escapes
/// are decoded: `email` also matches `"em\u0061il"`. A name must be written in double quotes, as a JSON string, if it is empty or
/// `$`, starts or ends with a space, or contains one of `. [ ] " * \`: `customer."e.mail"`.
///
/// If a single name and a longer path match the same value, the longer path applies. The inside of a matched value is not searched.
#[derive(Clone, Debug)]
pub struct Paths {
    nodes: Vec<Node>,
}

impl Paths {
    /// Compiles paths. [`splice_paths`](super::splice_paths) identifies a path by its index in this list, counted from 0.
    ///
    /// # Errors
    /// The first path that is invalid or listed twice.
    pub fn new<P: AsRef<str>>(paths: impl IntoIterator<Item = P>) -> Result<Paths, PathError> {
        let mut all = Paths { nodes: vec![Node::default(); ROOT + 1] };
        let mut anywhere = Vec::new();
        for (number, path) in paths.into_iter().enumerate() {
            let path = path.as_ref();
            let failed = |what| PathError { path: path.to_owned(), what };
            let Parsed { begins_at_root, before, last } = parse(path).map_err(failed)?;
            let step = match &last {
                Part::Name(name) if !begins_at_root && before.is_empty() => {
                    anywhere.push(name.clone());
                    all.nodes[NOWHERE].entry(name)
                }
                last => all.step(&before, last),
            };
            if step.path.replace(number).is_some() {
                return Err(failed("the path is listed twice".to_owned()));
            }
        }
        for name in anywhere {
            let path = all.nodes[NOWHERE].entry(&name).path;
            for node in &mut all.nodes[ROOT..] {
                let step = node.entry(&name);
                step.path = step.path.or(path);
            }
        }
        Ok(all)
    }

    /// The step at which a path from the root ends. Missing nodes on the way are created.
    fn step(&mut self, before: &[Part], last: &Part) -> &mut Step {
        let mut here = ROOT;
        for part in before {
            let new = self.nodes.len();
            let step = self.nodes[here].step(part);
            if step.node == NOWHERE {
                step.node = new;
                self.nodes.push(Node::default());
                here = new;
            } else {
                here = step.node;
            }
        }
        self.nodes[here].step(last)
    }

    #[inline]
    pub(super) fn node(&self, node: usize) -> &Node {
        &self.nodes[node]
    }

    /// Whether a path may match something in an object or array at this node.
    #[inline]
    pub(super) fn leads_on(&self, node: usize) -> bool {
        node != NOWHERE || self.nodes[NOWHERE].lengths != 0
    }
}

/// What the paths say about an object or array at this place of a document.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// The lengths of the names, as a bit set: a length of 63 or more sets the last bit.
    lengths: u64,
    names: Vec<(Box<[u8]>, Step)>,
    pub(super) elements: Step,
}

impl Node {
    /// What the paths say about a field.
    #[inline]
    pub(super) fn field(&self, name: &[u8]) -> Step {
        if self.lengths & length_bit(name) == 0 {
            return Step::default();
        }
        self.names.iter().find(|(known, _)| **known == *name).map(|&(_, step)| step).unwrap_or_default()
    }

    fn step(&mut self, part: &Part) -> &mut Step {
        match part {
            Part::Name(name) => self.entry(name),
            Part::Elements => &mut self.elements,
        }
    }

    fn entry(&mut self, name: &str) -> &mut Step {
        let name = name.as_bytes();
        let at = self.names.iter().position(|(known, _)| **known == *name).unwrap_or_else(|| {
            self.lengths |= length_bit(name);
            self.names.push((name.into(), Step::default()));
            self.names.len() - 1
        });
        &mut self.names[at].1
    }
}

#[inline]
fn length_bit(name: &[u8]) -> u64 {
    1 << name.len().min(63)
}

/// What the paths say about a field or an element.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Step {
    /// The index of the path that matches it.
    pub(super) path: Option<usize>,
    /// The node of its value, if that is an object or an array.
    pub(super) node: usize,
}

struct Parsed {
    begins_at_root: bool,
    before: Vec<Part>,
    last: Part,
}

enum Part {
    Name(String),
    Elements,
}

fn parse(path: &str) -> Result<Parsed, String> {
    let (begins_at_root, mut rest) = match path.strip_prefix('$') {
        Some("") => return Err("`$` is the whole document; name a field of it, as in `$.email`".to_owned()),
        Some(rest) if rest.starts_with(['.', '[']) => (true, rest),
        _ => (false, path),
    };
    let mut parts = Vec::new();
    while parts.is_empty() || !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix('[') {
            rest = behind.strip_prefix(']').ok_or_else(|| bad_brackets(behind))?;
            parts.push(Part::Elements);
            continue;
        }
        if begins_at_root || !parts.is_empty() {
            rest = rest.strip_prefix('.').ok_or_else(|| format!("expected `.` or `[]` before `{rest}`"))?;
        }
        let name;
        (name, rest) = parse_name(rest)?;
        parts.push(Part::Name(name));
    }
    let last = parts.pop().ok_or("the path is empty")?;
    Ok(Parsed { begins_at_root, before: parts, last })
}

fn bad_brackets(behind: &str) -> String {
    match behind.split_once(']') {
        None => "`[` has no `]`".to_owned(),
        Some((inside, _)) => format!("`[{inside}]` is not supported; `[]` is every element of an array"),
    }
}

/// Splits the name off the front of a path.
fn parse_name(text: &str) -> Result<(String, &str), String> {
    if let Some(inside) = text.strip_prefix('"') {
        let mut is_escaped = false;
        let end = inside.find(|c: char| {
            let is_end = c == '"' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            is_end
        });
        let end = end.ok_or("a name in double quotes has no end")? + 2;
        let name = serde_json::from_str(&text[..end]);
        return Ok((name.map_err(|_| format!("{} is not a JSON string", &text[..end]))?, &text[end..]));
    }
    let (name, rest) = text.split_at(text.find(['.', '[']).unwrap_or(text.len()));
    if name.is_empty() {
        let place = if rest.is_empty() { "at the end".to_owned() } else { format!("before `{rest}`") };
        return Err(format!("a name is missing {place}"));
    }
    let needs_quotes = |c: char| matches!(c, ']' | '"' | '*' | '\\') || c.is_control();
    if name.contains(needs_quotes) || name.trim() != name || name == "$" {
        return Err(format!("`{name}` has to be in double quotes to be a name"));
    }
    Ok((name.to_owned(), rest))
}

/// The error for an invalid path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathError {
    path: String,
    what: String,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "path `{}`: {}", self.path, self.what)
    }
}

impl std::error::Error for PathError {}

#[cfg(test)]
mod tests {
    use super::Paths;

    #[test]
    fn an_invalid_path_is_refused_with_the_reason() {
        for (path, what) in [
            ("", "a name is missing at the end"),
            (".email", "a name is missing before `.email`"),
            ("a.", "a name is missing at the end"),
            ("a..b", "a name is missing before `.b`"),
            ("a.[]", "a name is missing before `[]`"),
            ("$", "`$` is the whole document; name a field of it, as in `$.email`"),
            ("$.", "a name is missing at the end"),
            ("a.$", "`$` has to be in double quotes to be a name"),
            ("items[0]", "`[0]` is not supported; `[]` is every element of an array"),
            ("items[*].sku", "`[*]` is not supported; `[]` is every element of an array"),
            ("items[", "`[` has no `]`"),
            ("items]", "`items]` has to be in double quotes to be a name"),
            ("items[]sku", "expected `.` or `[]` before `sku`"),
            ("customer.*", "`*` has to be in double quotes to be a name"),
            (" email", "` email` has to be in double quotes to be a name"),
            ("a\\.b", "`a\\` has to be in double quotes to be a name"),
            ("\"a", "a name in double quotes has no end"),
            ("\"a\\\"", "a name in double quotes has no end"),
            ("\"\\x\"", "\"\\x\" is not a JSON string"),
            ("\"a\"b", "expected `.` or `[]` before `b`"),
        ] {
            let error = Paths::new([path]).unwrap_err();
            assert_eq!(error.to_string(), format!("path `{path}`: {what}"));
        }
    }

    #[test]
    fn a_path_that_is_listed_twice_is_refused_however_it_is_written() {
        for (first, second) in
            [("email", "\"em\\u0061il\""), ("a.b", "$.a.b"), ("a[]", "$.a[]"), ("[]", "$[]"), ("$.a", "$.\"a\"")]
        {
            let error = Paths::new([first, "c", second]).unwrap_err();
            assert_eq!(error.to_string(), format!("path `{second}`: the path is listed twice"));
        }
        assert!(Paths::new(["a", "$.a", "a.b", "a[]", "a[][]", "b.a"]).is_ok());
    }
}
