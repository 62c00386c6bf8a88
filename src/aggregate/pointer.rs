//! JSON pointers (RFC 6901): `/total`, `/user/id`, `/items/0`.
//!
//! It reads the notation; the scan looks the pointers up. Invariant: a pointer has at most [`TOKENS_MAX`] tokens.

use std::fmt;

/// The maximum number of tokens, which bounds the recursion of the scan.
const TOKENS_MAX: usize = 32;

/// Where a field is in a JSON value. The empty pointer is the whole value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer {
    text: String,
    tokens: Vec<String>,
}

impl Pointer {
    /// Reads a pointer.
    ///
    /// # Errors
    /// What is wrong with it, and how it is written instead: a lowercase fragment.
    pub fn parse(text: &str) -> Result<Pointer, String> {
        let Some(path) = text.strip_prefix('/') else {
            if text.is_empty() {
                return Ok(Pointer { text: String::new(), tokens: Vec::new() });
            }
            return Err(format!("`{text}` is not a JSON pointer, which begins with `/`: write `{}`", proposed(text)));
        };
        let tokens: Vec<String> = path.split('/').map(token).collect::<Option<_>>().ok_or_else(|| {
            format!("`{text}` is not a JSON pointer: after `~` comes 0 or 1; `~0` is written for `~` and `~1` for `/`")
        })?;
        if tokens.len() > TOKENS_MAX {
            return Err(format!("`{text}` has {} parts, where {TOKENS_MAX} are allowed", tokens.len()));
        }
        Ok(Pointer { text: text.to_owned(), tokens })
    }

    /// The pointer as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn tokens(&self) -> &[String] {
        &self.tokens
    }
}

impl fmt::Display for Pointer {
    /// For messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.is_empty() { f.write_str("the value") } else { write!(f, "`{}`", self.text) }
    }
}

/// The name or index that a token stands for.
fn token(written: &str) -> Option<String> {
    let mut pieces = written.split('~');
    let mut name = pieces.next()?.to_owned();
    for piece in pieces {
        match piece.as_bytes().first()? {
            b'0' => name.push('~'),
            b'1' => name.push('/'),
            _ => return None,
        }
        name.push_str(piece.get(1..)?);
    }
    Some(name)
}

/// The pointer that was probably meant, for names, JSON paths (`$.a.b`) and fragments (`#/a/b`).
fn proposed(text: &str) -> String {
    let path = text.trim_start_matches(['$', '#', '.']);
    let path = if path.contains('/') { path.to_owned() } else { path.replace('.', "/") };
    format!("/{}", path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_a_list_of_names() {
        let tokens = |text: &str| Pointer::parse(text).unwrap().tokens;
        assert!(tokens("").is_empty());
        assert_eq!(tokens("/total"), ["total"]);
        assert_eq!(tokens("/a~1b/m~0n/~01/0"), ["a/b", "m~n", "~1", "0"]);
        assert_eq!(tokens("/"), [""]);
        assert_eq!(tokens("/a b/\u{fc}"), ["a b", "\u{fc}"]);
    }

    #[test]
    fn what_is_no_pointer_is_refused_with_the_pointer_that_was_meant() {
        let error = |text: &str| Pointer::parse(text).unwrap_err();
        assert_eq!(error("total"), "`total` is not a JSON pointer, which begins with `/`: write `/total`");
        assert!(error("$.user.id").ends_with("write `/user/id`"));
        assert!(error("#/user/id").ends_with("write `/user/id`"));
        assert!(error("user.id").ends_with("write `/user/id`"));
        for bad in ["/~", "/a~2", "/~\u{fc}"] {
            assert!(error(bad).contains("after `~` comes 0 or 1"), "{bad}");
        }
        assert!(error(&"/a".repeat(33)).ends_with("has 33 parts, where 32 are allowed"));
    }
}
