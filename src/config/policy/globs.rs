//! The globs of a policy: `*` stands for any characters, `?` for one, `[ab]` for one of these. `*` crosses dots and slashes.

use glob::Pattern;

use crate::config::source::Span;

/// A list of globs.
#[derive(Clone, Debug, Default)]
pub(in crate::config) struct Globs {
    /// Where the list is written, if it is.
    pub(in crate::config) at: Option<Span>,
    pub(in crate::config) globs: Vec<Glob>,
}

/// One glob.
#[derive(Clone, Debug)]
pub(in crate::config) struct Glob {
    /// As it is written.
    pub(in crate::config) text: String,
    /// `None`: it is a pattern of topics, which permits exactly its own text.
    pub(in crate::config) pattern: Option<Pattern>,
}

impl Globs {
    /// Whether one of them matches this text.
    pub(in crate::config) fn permit(&self, text: &str) -> bool {
        self.globs.iter().any(|glob| glob.permits(text))
    }

    /// The globs for a message.
    pub(in crate::config) fn shown(&self) -> String {
        let globs: Vec<String> = self.globs.iter().map(|glob| format!("`{}`", glob.text)).collect();
        if globs.is_empty() { "nothing".to_owned() } else { globs.join(", ") }
    }
}

impl Glob {
    fn permits(&self, text: &str) -> bool {
        if text.starts_with('^') {
            return self.text == text || self.text == "*";
        }
        self.pattern.as_ref().is_some_and(|pattern| pattern.matches(text))
    }
}

/// Why a text isn't a glob, and what to write.
pub(in crate::config) fn parse(text: &str) -> Result<Pattern, (String, String)> {
    let wrong = |why: &str, help: String| Err((format!("`{}` is not a glob: {why}", text.escape_debug()), help));
    if text.is_empty() {
        return wrong("it is empty", "write `*` to permit everything, or remove it".to_owned());
    }
    if text.starts_with('^') || text.ends_with('$') {
        let bare = text.trim_start_matches('^').trim_end_matches('$').replace("\\.", ".").replace(".*", "*");
        return wrong(
            "it looks like a regular expression",
            format!("did you mean `{bare}`? `*` stands for any characters"),
        );
    }
    Pattern::new(text).or_else(|error| {
        let help = match text.contains("**") {
            true => format!("write `{}`: one `*` crosses dots and slashes", single_stars(text)),
            false => format!("write `{}` for the character itself", text.replace('[', "[[]")),
        };
        wrong(&format!("{} at character {}", error.msg, error.pos + 1), help)
    })
}

/// The text with one star in place of several.
fn single_stars(text: &str) -> String {
    let mut single = String::new();
    for character in text.chars().filter({
        let mut was_star = false;
        move |&character| {
            let is_second = was_star && character == '*';
            was_star = character == '*';
            !is_second
        }
    }) {
        single.push(character);
    }
    single
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(texts: &[&str]) -> Globs {
        let glob = |text: &&str| Glob { text: (*text).to_owned(), pattern: parse(text).ok() };
        Globs { at: None, globs: texts.iter().map(glob).collect() }
    }

    #[test]
    fn a_star_crosses_dots_and_slashes_and_nothing_else_is_special() {
        let some = globs(&["orders.*", "shared-?", "/run/secrets/*", "a+b"]);
        for text in ["orders.", "orders.a.b", "shared-1", "/run/secrets/a/b", "a+b"] {
            assert!(some.permit(text), "{text}");
        }
        for text in ["orders", "xorders.a", "ORDERS.a", "shared-12", "/run/secret/a", "aab", ""] {
            assert!(!some.permit(text), "{text}");
        }
        assert!(!globs(&[]).permit("orders"));
    }

    #[test]
    fn a_pattern_of_topics_is_permitted_by_its_own_text_or_by_everything() {
        let pattern = r"^orders\..*";
        assert!(globs(&[pattern]).permit(pattern) && globs(&["*"]).permit(pattern));
        assert!(!globs(&["^orders*", "orders*", "?*", "^*"]).permit(pattern));
        assert!(!globs(&[pattern]).permit("orders.a"), "a pattern permits no topic by itself");
    }

    #[test]
    fn a_bad_glob_is_refused_with_what_to_write() {
        for (text, why, help) in [
            ("", "it is empty", "write `*`"),
            ("orders.[a", "at character 8", "write `orders.[[]a`"),
            ("orders.**", "at character", "write `orders.*`"),
            ("^orders\\..*$", "regular expression", "did you mean `orders.*`?"),
        ] {
            let (message, suggestion) = parse(text).unwrap_err();
            assert!(message.contains(why) && suggestion.contains(help), "{message}; {suggestion}");
        }
    }
}
