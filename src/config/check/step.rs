//! `[[step]]`: components, their limits, and the settings they are handed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use toml::Spanned;

use super::Check;
use super::value;
use crate::config::StepSpans;
use crate::config::raw;
use crate::config::raw::Text;
use crate::config::source::Span;
use crate::plugin::Grants;
use crate::plugin::Settings;
use crate::secret::Secret;

pub(super) const TIMEOUT: Duration = Duration::from_secs(1);
const MEMORY_BYTES: u64 = 64 << 20;
const BATCH_RECORDS: usize = 128;

/// The steps and where they stand; `ports` are the same for each.
pub(super) fn steps(
    check: &mut Check<'_>,
    raw: &[Spanned<raw::Step>],
    ports: &[String],
) -> (Vec<Settings>, Vec<StepSpans>) {
    if raw.is_empty() {
        check.missing(Span::START, "[[step]]", "a pipeline has a step: `[[step]]` with `wasm = \"plugins/mask.wasm\"`");
    }
    let mut names = BTreeMap::new();
    raw.iter().enumerate().map(|(index, step)| self::step(check, index, step, ports, &mut names)).unzip()
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
    if step.wasm.is_none() {
        let help = "name the component's file: `wasm = \"plugins/mask.wasm\"`";
        check.missing(at, "step.wasm", help);
    }
    let wasm = step.wasm.as_ref().map(|wasm| component(check, wasm)).unwrap_or_default();
    let name = name(check, step, index, at, names);
    let settings = step.settings.as_ref().and_then(|settings| json(check, settings));
    let settings_at = step.settings.as_ref().map(Spanned::span).or_else(|| step.wasm.as_ref().map(Spanned::span));
    let spans = StepSpans {
        wasm: step.wasm.as_ref().map_or(at, |wasm| wasm.span().into()),
        settings: settings_at.map_or(at, Span::from),
        allow: step.allow.as_ref().map(|allow| allow.span().into()),
    };
    // A wasm32 memory ends at 4 GiB; below 1 MiB not even an empty guest fits.
    let memory = value::size(check, step.memory.as_ref(), "memory", 1 << 20, 4 << 30);
    let settings = Settings {
        name: Arc::from(name),
        wasm,
        settings: Secret(settings.unwrap_or_else(|| "{}".to_owned())),
        allow: step.allow.as_ref().map(|allow| grants(check, allow.get_ref())).unwrap_or_default(),
        ports: ports.to_vec(),
        timeout: value::duration(check, step.timeout.as_ref(), "timeout").unwrap_or(TIMEOUT),
        memory_bytes: memory.unwrap_or(MEMORY_BYTES),
        batch_records: value::number(check, step.batch.as_ref(), "batch", 1, 4096).unwrap_or(BATCH_RECORDS),
        hidden: check.secrets.hidden(),
    };
    (settings, spans)
}

fn grants(check: &mut Check<'_>, raw: &raw::Allow) -> Grants {
    let is = |switch: &Option<Spanned<bool>>| switch.as_ref().is_some_and(|switch| *switch.get_ref());
    let env = raw.env.as_ref().map(|env| {
        for name in env.keys() {
            // What an environment can't hold would be another variable, or none, to the plugin.
            if name.get_ref().is_empty() || name.get_ref().contains(['=', '\0']) {
                let message = format!("`{}` can't be the name of a variable", name.get_ref().escape_debug());
                check.report.add(name.span().into(), message, "write a name such as `REGION`");
            }
        }
        env.iter().map(|(name, value)| (name.get_ref().clone(), Secret(value.0.clone()))).collect()
    });
    Grants { clock: is(&raw.clock), random: is(&raw.random), env }
}

fn component(check: &mut Check<'_>, wasm: &Text) -> std::path::PathBuf {
    if let Some(scheme) = scheme(wasm) {
        check.report.add(
            wasm.span().into(),
            format!("components from `{scheme}` are not supported yet"),
            "name a file: `wasm = \"plugins/mask.wasm\"`",
        );
        return std::path::PathBuf::new();
    }
    check.file(wasm, "the component")
}

/// Where a component of a later version comes from, if not from a file.
fn scheme(wasm: &Text) -> Option<&'static str> {
    ["std:", "oci://", "http://", "https://"].into_iter().find(|scheme| wasm.get_ref().starts_with(scheme))
}

/// Names are unique: they stand in metrics and messages.
fn name(
    check: &mut Check<'_>,
    step: &raw::Step,
    index: usize,
    at: Span,
    names: &mut BTreeMap<String, usize>,
) -> String {
    let stem = |wasm: &Text| Path::new(wasm.get_ref()).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    // Nothing is said about the name where the component itself was found wrong.
    let (name, span, is_set) = match (&step.name, &step.wasm) {
        (Some(name), _) => (name.get_ref().clone(), name.span(), true),
        (None, Some(wasm)) if scheme(wasm).is_some() => return String::new(),
        (None, Some(wasm)) => (stem(wasm).unwrap_or_default(), wasm.span(), false),
        (None, None) => return String::new(),
    };
    let shown = check.shown_at(&name, &span);
    let at = if span.is_empty() { at } else { span.into() };
    if !value::is_name(&name) {
        let help = if is_set { value::NAME_RULE.to_owned() } else { format!("set `name`: {}", value::NAME_RULE) };
        check.report.add(at, format!("{shown} can't be a step's name"), help);
    } else if let Some(first) = names.insert(name.clone(), index) {
        let help = if is_set { "choose another `name`" } else { "set `name`, which else is the component's" };
        check.report.add(at, format!("steps {} and {} are both called {shown}", first + 1, index + 1), help);
    }
    name
}

/// The settings as a JSON object; dates become strings.
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
