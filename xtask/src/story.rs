//! The demo on a terminal: what the example's pipeline did, on one screen. The README shows the same screen.
//!
//! The text is made of what `wasmill dev` printed, so it shows what went through the broker.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use crate::stage;

/// The orders that are shown before and after: flat, a list, a number that no `double` holds, nothing to hide, and nested.
const SHOWN: [&str; 5] = ["1001", "1011", "1016", "1019", "1027"];
/// What is longer is cut.
const WIDTH: usize = 108;
const OUTPUT: &str = "orders.clean";
const DEAD: &str = "orders.dead";

/// A record that `dev` printed.
struct Printed<'a> {
    topic: &'a str,
    value: &'a str,
    /// Of a dead letter.
    reason: Option<&'a str>,
}

/// Runs `wasmill` with these arguments of `dev` and tells what it did with `input`.
///
/// # Errors
/// If it fails, with what it said; if a record that the story needs did not come out.
pub(crate) fn tell(wasmill: &mut Command, input: &Path) -> Result<String, String> {
    let output = wasmill.args(["--print", "text"]).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("run the example: {error}"))?;
    let (out, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        return Err(format!("the example ended with {}:\n{said}", output.status));
    }
    let input = fs::read_to_string(input).map_err(|error| format!("{}: {error}", input.display()))?;
    screen(&input, &printed(&out), &said)
}

/// The records of `dev --print text`: `TOPIC[PARTITION]@OFFSET  VALUE`, and the reason of a dead letter on an indented line behind it.
fn printed(out: &str) -> Vec<Printed<'_>> {
    let mut records: Vec<Printed<'_>> = Vec::new();
    for line in out.lines() {
        if let Some(reason) = line.strip_prefix("    ") {
            records.iter_mut().next_back().into_iter().for_each(|record| record.reason = Some(reason));
        } else if let Some((place, value)) = line.split_once("  ") {
            let topic = place.split_once('[').map_or(place, |(topic, _)| topic);
            records.push(Printed { topic, value, reason: None });
        }
    }
    records
}

fn screen(input: &str, records: &[Printed<'_>], said: &str) -> Result<String, String> {
    let mut lines: Vec<String> = Vec::new();
    for order in SHOWN {
        let start = format!("{{\"order\":{order},");
        let before = input.lines().find(|line| line.starts_with(&start));
        let after = records.iter().find(|record| record.topic == OUTPUT && record.value.starts_with(&start));
        let (Some(before), Some(after)) = (before, after) else { return Err(format!("order {order} didn't come out")) };
        lines.push(format!("before    {}", cut(before)));
        lines.push(format!("after     {}", cut(after.value)));
    }
    let dead: Vec<&Printed<'_>> = records.iter().filter(|record| record.topic == DEAD).collect();
    let [rejected] = dead[..] else { return Err(format!("{} records were rejected, not one", dead.len())) };
    lines.push(format!("rejected  {}", cut(rejected.value)));
    lines.push(format!("          {}", rejected.reason.ok_or("the rejected record has no reason")?));
    let starting = |start: &str| said.lines().find_map(|line| line.strip_prefix(start));
    let metrics = starting("metrics: ").and_then(|line| line.split_whitespace().next());
    let counters = said.lines().rev().find(|line| line.starts_with("in "));
    lines.push(String::new());
    lines.push(format!("counters  {}", counters.ok_or("the counters are missing")?));
    lines.push(format!("metrics   {}   (while it ran)", metrics.ok_or("the address of the metrics is missing")?));
    lines.push(String::new());
    lines.extend(NEXT.map(|(command, what)| format!("{command:<72}{what}")));
    Ok(lines.iter().map(|line| format!("{line}\n")).collect())
}

/// What to type next.
const NEXT: [(&str, &str); 3] = [
    ("cargo xtask demo | less", "all records that came out, as JSON"),
    ("cargo xtask plugins; cargo install --path . --features std-plugins", "puts wasmill on your PATH"),
    ("wasmill new pipeline errors", "a pipeline of your own, without code"),
];

/// The beginning of a line, in whole characters.
fn cut(line: &str) -> String {
    if line.chars().count() <= WIDTH {
        return line.to_owned();
    }
    line.chars().take(WIDTH - 3).chain("...".chars()).collect()
}

/// The block of the README that shows the screen, between these lines.
const MARK: &str = "<!-- the demo's screen -->\n```\n";
const END: &str = "```\n<!-- end -->";

/// Compares the screen with the one in the README, or puts it there.
///
/// # Errors
/// If the README has another one, or no place for it.
pub(crate) fn hold_in_readme(screen: &str, renew: bool) -> Result<(), String> {
    let path = stage::root().join("README.md");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let parts =
        text.split_once(MARK).and_then(|(head, rest)| rest.split_once(END).map(|(old, tail)| (head, old, tail)));
    let (head, old, tail) = parts.ok_or_else(|| format!("{} has no block `{}`", path.display(), MARK.trim()))?;
    if without_port(old) == without_port(screen) {
        return Ok(());
    }
    if renew {
        let text = format!("{head}{MARK}{screen}{END}{tail}");
        return fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()));
    }
    Err(format!("the README shows another screen than the demo; `cargo xtask docs` renews it:\n{screen}"))
}

/// The metrics have another port each time.
fn without_port(screen: &str) -> String {
    let port = |line: &str| match line.split_once("127.0.0.1:") {
        Some((head, tail)) => format!("{head}{}", tail.trim_start_matches(|c: char| c.is_ascii_digit())),
        None => line.to_owned(),
    };
    screen.lines().map(|line| port(line) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_in_whole_characters() {
        assert_eq!(cut("short"), "short");
        let long = "\u{5c71}".repeat(WIDTH + 1);
        assert_eq!(cut(&long), format!("{}...", "\u{5c71}".repeat(WIDTH - 3)));
    }

    #[test]
    fn a_story_without_a_record_that_it_shows_is_an_error() {
        assert_eq!(screen("", &[], ""), Err("order 1001 didn't come out".to_owned()));
    }
}
