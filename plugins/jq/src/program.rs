//! A compiled program: the error message for a mistake in it, its variables, and its results for a value.

use jaq_core::Ctx;
use jaq_core::Exn;
use jaq_core::Vars;
use jaq_core::compile::Undefined;
use jaq_core::data::JustLut;
use jaq_core::load;
use jaq_core::load::Arena;
use jaq_core::load::File;
use jaq_core::load::Loader;
use jaq_json::Map;
use jaq_json::Num;
use jaq_json::Val;
use wasmill_sdk::Record;

use crate::functions;
use crate::json;

/// The data that jaq's programs work on here: only JSON values.
pub(crate) type Data = JustLut<Val>;

/// Computes a variable from the record.
type OfRecord = fn(&Record<'_>) -> Val;

/// The variables of a program, which describe its record besides the value.
const VARIABLES: [(&str, OfRecord); 6] = [
    ("$key", |record| record.key.map_or(Val::Null, text)),
    ("$headers", headers),
    ("$topic", |record| json::string(record.topic)),
    ("$partition", |record| Val::Num(Num::from_integral(record.partition))),
    ("$offset", |record| Val::Num(Num::from_integral(record.offset))),
    ("$timestamp", |record| record.timestamp.map_or(Val::Null, |time| Val::Num(Num::from_integral(time)))),
];

/// Features of jq that a plugin doesn't have: further inputs, clock, environment, files and console.
const UNAVAILABLE: [&str; 15] = [
    "$ENV",
    "$__prog_args",
    "debug",
    "env",
    "get_search_list",
    "halt",
    "halt_error",
    "input",
    "input_filename",
    "input_line_number",
    "inputs",
    "localtime",
    "now",
    "stderr",
    "strflocaltime",
];
/// The maximum size of a quote from a program in a message.
const QUOTED_MAX: usize = 20;

/// A program from the step's settings.
pub(crate) struct Program {
    /// The name of the setting.
    name: &'static str,
    filter: jaq_core::Filter<Data>,
    /// The indexes of the variables that it may use.
    variables: Vec<usize>,
}

impl Program {
    /// Compiles a program.
    ///
    /// # Errors
    /// The first mistake in it, and its position.
    pub(crate) fn compile(name: &'static str, code: &str) -> Result<Program, String> {
        // A variable name in a string or a comment counts as a use, too: that costs time, but changes nothing.
        let used = (0..VARIABLES.len()).filter(|&index| code.contains(VARIABLES[index].0));
        let variables: Vec<usize> = used.collect();
        let arena = Arena::default();
        let told = |found: &str, what: String| format!("`{name}`{}: {what}", place(code, found));

        let unparsed = |errors: load::Errors<&str, ()>| {
            let mistake = errors.iter().find_map(|(_, error)| mistake(error));
            let (found, what) = mistake.unwrap_or((code, "it is no jq program".to_owned()));
            told(found, what)
        };
        let loader = Loader::new(functions::definitions());
        let modules = loader.load(&arena, File { code, path: () }).map_err(unparsed)?;
        load::import(&modules, |_| Err("data".to_owned())).map_err(unparsed)?;

        let names = variables.iter().map(|&index| VARIABLES[index].0);
        let compiler = jaq_core::Compiler::default().with_funs(functions::natives()).with_global_vars(names);
        let filter = compiler.compile(modules).map_err(|errors| {
            let first = errors.iter().flat_map(|(_, errors)| errors).next();
            first.map_or_else(
                || told(code, "it doesn't compile".to_owned()),
                |(found, kind)| told(found, undefined(found, kind)),
            )
        })?;
        Ok(Program { name, filter, variables })
    }

    /// The program with the variables of a record.
    pub(crate) fn bind(&self, record: &Record<'_>) -> Bound<'_> {
        let variables = self.variables.iter().map(|&index| (VARIABLES[index].1)(record));
        Bound { program: self, variables: Vars::new(variables) }
    }
}

/// A program with the variables of its record.
pub(crate) struct Bound<'p> {
    program: &'p Program,
    variables: Vars<Val>,
}

impl<'p> Bound<'p> {
    /// Yields the results for a value one by one. An `Err` is the message of an error; more results may follow it.
    pub(crate) fn run(&self, value: Val) -> impl Iterator<Item = Result<Val, String>> + use<'p> {
        let filter = &self.program.filter;
        let context = Ctx::<Data>::new(&filter.lut, self.variables.clone());
        filter.id.run((context, value)).map(|result| result.map_err(message))
    }

    /// The result for a value.
    ///
    /// # Errors
    /// The message of the program's error, or that it doesn't return exactly one result.
    pub(crate) fn only(&self, value: Val) -> Result<Val, String> {
        let mut results = self.run(value);
        let Some(first) = results.next() else { return Err(format!("`{}` gives no result", self.program.name)) };
        let first = first?;
        match results.next() {
            None => Ok(first),
            Some(_) => Err(format!("`{}` gives more than one result", self.program.name)),
        }
    }
}

fn message(raised: Exn<'_, Val>) -> String {
    match raised.get_err() {
        Ok(error) => json::text(&error.into_val()),
        Err(_) => "the program breaks off".to_owned(),
    }
}

fn text(bytes: &[u8]) -> Val {
    json::string(&String::from_utf8_lossy(bytes))
}

/// The headers as an object. If a name repeats, the last header counts; a null stays null.
fn headers(record: &Record<'_>) -> Val {
    let fields = record.headers().iter().map(|header| (text(header.name), header.value.map_or(Val::Null, text)));
    Val::obj(fields.collect::<Map>())
}

/// The parse error: what jaq expected, and what it found there.
fn mistake<'c>(error: &load::Error<&'c str>) -> Option<(&'c str, String)> {
    match error {
        load::Error::Io(paths) => {
            paths.first().map(|(path, _)| (*path, "modules are not available in a plugin".to_owned()))
        }
        load::Error::Lex(errors) => {
            errors.first().map(|(expected, found)| (*found, expectation(expected.as_str(), found)))
        }
        load::Error::Parse(errors) => {
            errors.first().map(|(expected, found)| (*found, expectation(expected.as_str(), found)))
        }
    }
}

fn expectation(expected: &str, found: &str) -> String {
    let found = found.lines().next().unwrap_or_default();
    if found.is_empty() {
        return format!("expected {expected}, found the end");
    }
    let quoted = &found[..found.floor_char_boundary(QUOTED_MAX)];
    let more = if quoted.len() < found.len() { ".." } else { "" };
    format!("expected {expected}, found `{quoted}{more}`")
}

fn undefined(found: &str, kind: &Undefined) -> String {
    if UNAVAILABLE.contains(&found) {
        return format!("`{found}` is not available in a plugin");
    }
    match kind {
        Undefined::Filter(0) => format!("there is no filter `{found}`"),
        Undefined::Filter(1) => format!("there is no filter `{found}` with 1 argument"),
        Undefined::Filter(arguments) => format!("there is no filter `{found}` with {arguments} arguments"),
        Undefined::Var => {
            let names: Vec<&str> = VARIABLES.iter().map(|(name, _)| *name).collect();
            format!("there is no variable `{found}`: there are {}", names.join(", "))
        }
        other => format!("there is no {} `{found}`", other.as_str()),
    }
}

/// The position of a part of a program, for a message; empty if it isn't a part of the program.
fn place(code: &str, part: &str) -> String {
    let before = part.as_ptr().addr().checked_sub(code.as_ptr().addr()).and_then(|start| code.get(..start));
    let Some(before) = before else { return String::new() };
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!(", line {line}, column {column}")
}
