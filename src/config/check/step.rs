//! `[[step]]`: components, their limits, and their settings.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use toml::Spanned;

use super::Check;
use super::grants;
use super::limits;
use super::plugins;
use super::value;
use super::windows;
use crate::config::StepSpans;
use crate::config::Windowed;
use crate::config::raw;
use crate::config::raw::Text;
use crate::config::source::Span;
use crate::plugin::CallTimeouts;
use crate::plugin::Settings;
use crate::plugin::bundled;
use crate::secret::Secret;

pub(super) const TIMEOUT: Duration = Duration::from_secs(1);
/// Interpreters take up to a second for their start on a busy machine, and plugins read tables in `init`.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);
const MEMORY_BYTES: u64 = 64 << 20;
const BATCH_RECORDS: usize = 128;

/// The steps and their spans, and the last step if it has windows. All steps have the same `ports`.
pub(super) fn steps(
    check: &mut Check<'_>,
    raw: &[Spanned<raw::Step>],
    ports: &[String],
    state: &raw::State,
) -> (Vec<Settings>, Vec<StepSpans>, Option<Windowed>) {
    if raw.is_empty() {
        check.missing(
            Span::START,
            "[[step]]",
            "a pipeline needs a step: `[[step]]` with `wasm = \"plugins/mask.wasm\"`",
        );
    }
    let mut names = BTreeMap::new();
    let (mut steps, mut spans, mut windowed) = (Vec::new(), Vec::new(), None);
    for (index, raw_step) in raw.iter().enumerate() {
        let at: Span = raw_step.span().into();
        let name = if windows::is_native(raw_step.get_ref()) {
            name(check, raw_step.get_ref(), index, at, &mut names)
        } else {
            let (settings, span) = step(check, index, raw_step, ports, &mut names);
            let name = settings.name.to_string();
            steps.push(settings);
            spans.push(span);
            name
        };
        if !windows::is_windowed(raw_step.get_ref()) {
            windows::refuse(check, raw_step.get_ref());
            continue;
        }
        if index + 1 < raw.len() {
            let message = "steps after a step with windows are not supported yet";
            check.report.add(at, message, "make it the last step, and read its output with another pipeline");
        }
        windowed = Some(windows::windowed(check, index, raw_step, name, state));
    }
    (steps, spans, windowed)
}

fn step(
    check: &mut Check<'_>,
    index: usize,
    raw: &Spanned<raw::Step>,
    ports: &[String],
    names: &mut BTreeMap<String, usize>,
) -> (Settings, StepSpans) {
    let at: Span = raw.span().into();
    let step = raw.get_ref();
    let wasm = match (&step.wasm, &step.r#use) {
        (Some(wasm), None) => component(check, wasm),
        (None, Some(name)) => bundled(check, name),
        (Some(_), Some(name)) => {
            let message = "a step has `wasm` or `use`, and not both";
            check.report.add(name.span().into(), message, "remove one of them");
            PathBuf::new()
        }
        (None, None) => {
            let help = "name the component's file, `wasm = \"plugins/mask.wasm\"`, or a plugin that comes with wasmill, `use = \"std:jq\"`";
            check.missing(at, "step.wasm", help);
            PathBuf::new()
        }
    };
    let named = step.wasm.as_ref().or(step.r#use.as_ref());
    let name = name(check, step, index, at, names);
    let settings = step.settings.as_ref().and_then(|settings| json(check, settings));
    let settings_at = step.settings.as_ref().map(Spanned::span).or_else(|| named.map(Spanned::span));
    let spans = StepSpans {
        wasm: named.map_or(at, |named| named.span().into()),
        settings: settings_at.map_or(at, Span::from),
        allow: step.allow.as_ref().map(|allow| allow.span().into()),
    };
    // A wasm32 memory has at most 4 GiB; less than 1 MiB is too small even for an empty guest.
    let memory = value::size(check, step.memory.as_ref(), "memory", 1 << 20, 4 << 30);
    let settings = Settings {
        name: Arc::from(name),
        wasm,
        settings: Secret(settings.unwrap_or_else(|| "{}".to_owned())),
        allow: step.allow.as_ref().map(|allow| grants::read(check, allow.get_ref())).unwrap_or_default(),
        ports: ports.to_vec(),
        timeout: CallTimeouts {
            call: value::duration(check, step.timeout.as_ref(), "timeout").unwrap_or(TIMEOUT),
            init: value::duration(check, step.init_timeout.as_ref(), "init_timeout").unwrap_or(INIT_TIMEOUT),
        },
        memory_bytes: memory.unwrap_or(MEMORY_BYTES),
        batch_records: value::number(check, step.batch.as_ref(), "batch", 1, 4096).unwrap_or(BATCH_RECORDS),
        // Those of `[limits]`, which are the same for all steps.
        outputs_per_record: limits::OUTPUTS_PER_RECORD,
        output_bytes_per_record: limits::OUTPUT_BYTES_PER_RECORD,
        demands: plugins::sha256(check, step.sha256.as_ref()).into_iter().collect(),
        hidden: check.secrets.hidden(),
    };
    (settings, spans)
}

/// The path of a plugin that comes with wasmill.
fn bundled(check: &mut Check<'_>, name: &Text) -> PathBuf {
    let known = || bundled::ALL.iter().map(|(name, _)| format!("{}{name}", bundled::SCHEME));
    if known().any(|known| known == *name.get_ref()) {
        let path = PathBuf::from(name.get_ref());
        if let Some(missing) = bundled::name(&path).filter(|name| !bundled::is_there(name)).map(bundled::missing) {
            let message = format!("`{}` can't be read: {missing}", name.get_ref());
            check.report.add(name.span().into(), message, "or name a file with `wasm`");
            return PathBuf::new();
        }
        return path;
    }
    let shown = check.shown_at(name.get_ref(), &name.span());
    let all: Vec<String> = known().map(|known| format!("`{known}`")).collect();
    let message = format!("{shown} is not a plugin that comes with wasmill");
    check.report.add(name.span().into(), message, format!("write {}, or name a file with `wasm`", all.join(" or ")));
    PathBuf::new()
}

fn component(check: &mut Check<'_>, wasm: &Text) -> PathBuf {
    if let Some(scheme) = scheme(wasm) {
        let (message, help) = if scheme == bundled::SCHEME {
            let message = "`wasm` names a file, and this is a plugin that comes with wasmill".to_owned();
            let is_secret = check.secrets.touch(&wasm.span());
            (message, format!("write `use = \"{}\"`", if is_secret { "***" } else { wasm.get_ref() }))
        } else {
            let message = format!("components from `{scheme}` are not supported yet");
            (message, "name a file: `wasm = \"plugins/mask.wasm\"`".to_owned())
        };
        check.report.add(wasm.span().into(), message, help);
        return PathBuf::new();
    }
    check.file(wasm, "the component")
}

/// The scheme of a component that is not a file; a later version may support it.
fn scheme(wasm: &Text) -> Option<&'static str> {
    ["std:", "oci://", "http://", "https://"].into_iter().find(|scheme| wasm.get_ref().starts_with(scheme))
}

/// The name of a step. Names are unique because metrics and messages use them.
fn name(
    check: &mut Check<'_>,
    step: &raw::Step,
    index: usize,
    at: Span,
    names: &mut BTreeMap<String, usize>,
) -> String {
    let stem = |wasm: &Text| Path::new(wasm.get_ref()).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    // If the component itself is wrong, its name is not checked.
    let (name, span, is_set) = match (&step.name, &step.wasm, &step.r#use) {
        (Some(name), _, _) => (name.get_ref().clone(), name.span(), true),
        (None, Some(wasm), _) if scheme(wasm).is_some() => return String::new(),
        (None, Some(wasm), _) => (stem(wasm).unwrap_or_default(), wasm.span(), false),
        (None, None, Some(used)) => match bundled::name(Path::new(used.get_ref())) {
            Some(name) => (name.to_owned(), used.span(), false),
            None => return String::new(),
        },
        (None, None, None) => return String::new(),
    };
    let shown = check.shown_at(&name, &span);
    let at = if span.is_empty() { at } else { span.into() };
    if !value::is_name(&name) {
        let help = if is_set { value::NAME_RULE.to_owned() } else { format!("set `name`: {}", value::NAME_RULE) };
        check.report.add(at, format!("{shown} can't be a step's name"), help);
    } else if let Some(first) = names.insert(name.clone(), index) {
        let help = if is_set {
            "choose another `name`"
        } else {
            "set `name`; without it, the step is named after its component"
        };
        check.report.add(at, format!("steps {} and {} are both called {shown}", first + 1, index + 1), help);
    }
    name
}

/// The settings as a JSON object. Dates become strings.
fn json(check: &mut Check<'_>, settings: &Spanned<toml::Table>) -> Option<String> {
    match object(settings.get_ref()) {
        Some(object) => Some(object.to_string()),
        None => {
            let message = "`settings` holds a number that JSON doesn't have";
            check.report.add(settings.span().into(), message, "leave out `nan` and `inf`: the plugin gets JSON");
            None
        }
    }
}

fn object(table: &toml::Table) -> Option<Json> {
    table.iter().map(|(key, value)| Some((key.clone(), json_value(value)?))).collect::<Option<_>>().map(Json::Object)
}

fn json_value(value: &toml::Value) -> Option<Json> {
    Some(match value {
        toml::Value::String(text) => Json::from(text.as_str()),
        toml::Value::Integer(number) => Json::from(*number),
        toml::Value::Float(number) => Json::Number(serde_json::Number::from_f64(*number)?),
        toml::Value::Boolean(value) => Json::from(*value),
        toml::Value::Datetime(time) => Json::from(time.to_string()),
        toml::Value::Array(items) => Json::Array(items.iter().map(json_value).collect::<Option<_>>()?),
        toml::Value::Table(table) => object(table)?,
    })
}
