//! Suggestions for unknown words.

/// The one of `known` that `word` is probably a typo of: up to one edit for a short word, two for a longer one. With
/// two edits, almost any words of three or four letters would match.
pub fn near<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let slips = if word.chars().count() < 6 { 1 } else { 2 };
    let (distance, name) = known.map(|known| (strsim::damerau_levenshtein(word, known), known)).min()?;
    (distance <= slips).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_recognized_and_another_word_is_not() {
        let known = ["step", "input", "output", "topics", "key"];
        let near = |word| near(word, known.into_iter());
        assert_eq!(near("stpe"), Some("step"));
        assert_eq!(near("kay"), Some("key"));
        assert_eq!(near("topisc"), Some("topics"));
        assert_eq!(near("otuptu"), Some("output"));
        for word in ["otel", "stop", "", "orders"] {
            assert_ne!(near(word), Some("topics"), "{word}");
        }
        assert_eq!((near("otel"), near("")), (None, None));
    }
}
