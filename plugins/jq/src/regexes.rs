//! Regular expressions, for jaq's definitions of `test`, `match`, `capture`, `scan`, `split` and `sub`.
//!
//! Matching takes time linear in the length of the text. Each expression of a program is compiled once and cached.

use std::cell::RefCell;
use std::rc::Rc;

use jaq_core::native::bome;
use jaq_core::native::v;
use jaq_json::Error;
use jaq_json::Map;
use jaq_json::Val;
use jaq_json::ValR;
use jaq_std::ValT as _;
use regex_lite::Captures;
use regex_lite::Regex;
use regex_lite::RegexBuilder;

use crate::functions::Filters;
use crate::json;

/// The maximum number of cached expressions: a program may build expressions from its records.
const KEPT_MAX: usize = 64;

thread_local! {
    static KEPT: RefCell<Vec<Rc<Expression>>> = const { RefCell::new(Vec::new()) };
}

/// What a filter returns for its input.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Matches,
    Between,
    Both,
}

pub(crate) fn filters() -> Filters {
    Box::new([
        ("matches", v(2), |mut cv| {
            let (flags, expression) = (cv.0.pop_var(), cv.0.pop_var());
            bome(search(&cv.1, &expression, &flags, Wanted::Matches))
        }),
        ("split_", v(2), |mut cv| {
            let (flags, expression) = (cv.0.pop_var(), cv.0.pop_var());
            bome(search(&cv.1, &expression, &flags, Wanted::Between))
        }),
        ("split_matches", v(2), |mut cv| {
            let (flags, expression) = (cv.0.pop_var(), cv.0.pop_var());
            bome(search(&cv.1, &expression, &flags, Wanted::Both))
        }),
    ])
}

struct Expression {
    flags: String,
    regex: Regex,
    /// Whether to find all matches instead of only the first one.
    global: bool,
    ignores_empty: bool,
}

impl Expression {
    fn new(text: &str, flags: &str) -> Result<Expression, Error> {
        let (mut global, mut ignores_empty) = (false, false);
        let mut builder = RegexBuilder::new(text);
        for flag in flags.chars() {
            match flag {
                'g' => global = true,
                'n' => ignores_empty = true,
                'i' => _ = builder.case_insensitive(true),
                'x' => _ = builder.ignore_whitespace(true),
                'p' => _ = builder.dot_matches_new_line(true),
                // `^` and `$` always match the ends of the text. A search for the longest match is not supported.
                's' | 'l' => {}
                other => return Err(Error::str(format!("{other} is not a valid regex flag"))),
            }
        }
        let regex = builder.build().map_err(|e| Error::str(format!("{text} is not a valid regex: {e}")))?;
        Ok(Expression { flags: flags.to_owned(), regex, global, ignores_empty })
    }

    fn kept(text: &str, flags: &str) -> Result<Rc<Expression>, Error> {
        let same = |kept: &&Rc<Expression>| kept.regex.as_str() == text && kept.flags == flags;
        if let Some(known) = KEPT.with_borrow(|kept| kept.iter().find(same).cloned()) {
            return Ok(known);
        }
        let new = Rc::new(Expression::new(text, flags)?);
        KEPT.with_borrow_mut(|kept| {
            if kept.len() >= KEPT_MAX {
                kept.clear();
            }
            kept.push(Rc::clone(&new));
        });
        Ok(new)
    }
}

/// The matches and the texts between them, in order. Each match is an array of the whole match and its groups.
fn search(input: &Val, expression: &Val, flags: &Val, wanted: Wanted) -> ValR {
    let flags = match flags {
        Val::Null => "",
        flags => text(flags)?,
    };
    let expression = Expression::kept(text(expression)?, flags)?;
    let text = text(input)?;
    let mut found = Vec::new();
    let mut places = Places { text, bytes: 0, characters: 0 };
    let mut end = 0;
    for captures in expression.regex.captures_iter(text) {
        let Some(whole) = captures.get(0) else { break };
        if expression.ignores_empty && whole.is_empty() {
            continue;
        }
        if wanted != Wanted::Matches {
            found.push(json::string(&text[end..whole.start()]));
            end = whole.end();
        }
        if wanted != Wanted::Between {
            found.push(groups(&expression.regex, &captures, &mut places));
        }
        if !expression.global {
            break;
        }
    }
    if wanted != Wanted::Matches {
        found.push(json::string(&text[end..]));
    }
    Ok(found.into_iter().collect())
}

fn text(value: &Val) -> Result<&str, Error> {
    value.try_as_utf8_bytes().and_then(|bytes| str::from_utf8(bytes).map_err(Error::str))
}

fn groups(regex: &Regex, captures: &Captures<'_>, places: &mut Places<'_>) -> Val {
    let groups = captures.iter().zip(regex.capture_names()).enumerate();
    let groups = groups.map(|(number, (group, name))| {
        let (offset, length, string) = match group {
            Some(group) => {
                let length = group.as_str().chars().count();
                (Val::from(places.character(group.start())), Val::from(length), json::string(group.as_str()))
            }
            None => (Val::from(-1_isize), Val::from(0_usize), Val::Null),
        };
        let mut fields = Map::default();
        fields.insert(json::string("offset"), offset);
        fields.insert(json::string("length"), length);
        fields.insert(json::string("string"), string);
        if number > 0 {
            fields.insert(json::string("name"), name.map_or(Val::Null, json::string));
        }
        Val::obj(fields)
    });
    groups.collect()
}

/// Converts byte positions of a text to character positions. Positions usually come in ascending order.
struct Places<'t> {
    text: &'t str,
    bytes: usize,
    characters: usize,
}

impl Places<'_> {
    fn character(&mut self, byte: usize) -> usize {
        if byte < self.bytes {
            (self.bytes, self.characters) = (0, 0);
        }
        self.characters += self.text[self.bytes..byte].chars().count();
        self.bytes = byte;
        self.characters
    }
}
