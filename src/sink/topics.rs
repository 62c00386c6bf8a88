//! Which topics the outputs of a port go to, and which of them a plugin may name.
//!
//! A plugin's name is text from a record, so anything may be in it: it is a topic of this pipeline only if it is a valid
//! name, the file allows it, and nothing of this pipeline reads or dead-letters there.

use glob::Pattern;

use crate::record::is_reserved_topic;
use crate::record::is_topic_name;

/// The topics of one output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicChoice {
    /// The output's name in the file.
    pub output: String,
    /// Whether there is a topic for outputs without a name.
    pub has_default: bool,
    /// What plugins may name; `None` if they may name nothing.
    pub allowed: Option<AllowedTopics>,
}

/// The topics that a plugin may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedTopics {
    /// The globs.
    pub globs: Vec<Pattern>,
    /// The topics that the pipeline reads, as far as they are no patterns, and that of its dead letters.
    pub own: Vec<String>,
}

impl TopicChoice {
    /// The choice of an output with a topic and nothing else.
    #[must_use]
    pub fn fixed(output: String) -> TopicChoice {
        TopicChoice { output, has_default: true, allowed: None }
    }

    /// Why an output may not go to the topic that its plugin named, or to none; `None` if it may.
    #[must_use]
    pub fn refusal(&self, name: Option<&str>) -> Option<String> {
        let Some(name) = name else {
            let output = &self.output;
            return (!self.has_default)
                .then(|| format!("an output to `{output}` names no topic, and `output.{output}` has no `topic`"));
        };
        let shown = shown(name);
        let Some(allowed) = &self.allowed else {
            let output = &self.output;
            return Some(format!("an output names the topic `{shown}`, and `output.{output}` has no `topics_allowed`"));
        };
        if !is_topic_name(name) {
            return Some(format!(
                "an output names the topic `{shown}`, which is no name for a topic: 1 to 249 of a-z, A-Z, 0-9, `.`, `_` and `-`"
            ));
        }
        if is_reserved_topic(name) {
            return Some(format!("an output names the topic `{shown}`, which is a reserved name"));
        }
        if !allowed.globs.iter().any(|glob| glob.matches(name)) {
            let globs: Vec<&str> = allowed.globs.iter().map(Pattern::as_str).collect();
            return Some(format!(
                "an output names the topic `{shown}`, where `output.{}.topics_allowed` has `{}`",
                self.output,
                globs.join("`, `")
            ));
        }
        let is_own = allowed.own.iter().any(|own| own == name);
        is_own.then(|| {
            format!("an output names the topic `{shown}`, which the pipeline reads or writes its dead letters to")
        })
    }
}

/// A name for a message: what a plugin made of a record may be long, and anything.
fn shown(name: &str) -> String {
    const SHOWN_MAX: usize = 60;
    let end = name.floor_char_boundary(SHOWN_MAX);
    let more = if end < name.len() { ".." } else { "" };
    format!("{}{more}", name[..end].escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(has_default: bool, globs: Option<&[&str]>) -> TopicChoice {
        let globs = globs.map(|globs| globs.iter().map(|glob| Pattern::new(glob).unwrap()).collect());
        let own = vec!["rows".to_owned(), "rows.dead".to_owned()];
        let allowed = globs.map(|globs| AllowedTopics { globs, own });
        TopicChoice { output: "main".into(), has_default, allowed }
    }

    #[test]
    fn a_name_has_to_be_a_topic_that_the_list_has_and_that_is_not_the_pipelines_own() {
        let some = choice(true, Some(&["rows*", "audit"]));
        for name in ["rows.eu", "audit", "rows-1"] {
            assert_eq!(some.refusal(Some(name)), None, "{name}");
        }
        let long = format!("rows{}", "x".repeat(246));
        for (name, part) in [
            ("", "the topic ``, which is no name"),
            (&long, "xx..`, which is no name"),
            ("rows eu", "`rows eu`, which is no name"),
            ("rows\u{e9}\n", "the topic `rows\u{e9}\\n`, which is no name"),
            ("audit.eu", "`audit.eu`, where `output.main.topics_allowed` has `rows*`, `audit`"),
            ("rows", "the pipeline reads or"),
            ("rows.dead", "the pipeline reads or"),
            ("rows.changelog", "reserved"),
            ("__consumer_offsets", "reserved"),
        ] {
            let refusal = some.refusal(Some(name)).unwrap();
            assert!(refusal.contains(part), "{refusal}");
        }
        assert_eq!(some.refusal(Some(&"x".repeat(249))).unwrap().matches('x').count(), 60);
    }

    #[test]
    fn an_output_without_a_name_needs_a_topic_and_one_with_a_name_a_list() {
        assert_eq!(choice(true, Some(&["rows.*"])).refusal(None), None);
        assert_eq!(choice(true, None).refusal(None), None);
        let refusal = choice(false, Some(&["rows.*"])).refusal(None).unwrap();
        assert!(refusal.contains("names no topic, and `output.main` has no `topic`"), "{refusal}");
        let refusal = choice(true, None).refusal(Some("rows.eu")).unwrap();
        assert!(refusal.contains("`rows.eu`, and `output.main` has no `topics_allowed`"), "{refusal}");
    }
}
