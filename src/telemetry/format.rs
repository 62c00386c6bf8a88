//! A log line as JSON: one object, with the pipeline that it is about.
//!
//! Everything except the pipeline's name is written by `tracing_subscriber`. A process runs one pipeline, so the name is global.

use std::fmt;
use std::sync::OnceLock;

use tracing::Event;
use tracing::Subscriber;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::FormatEvent;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format;
use tracing_subscriber::fmt::format::Format;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::registry::LookupSpan;

/// The field with the pipeline's name, appended to each line.
static PIPELINE: OnceLock<String> = OnceLock::new();

/// Adds the field `pipeline` to each JSON line from now on.
pub fn set_pipeline(name: &str) {
    // Later calls change nothing.
    let _ = PIPELINE.set(field(name));
}

/// The field as it is appended to an object.
fn field(name: &str) -> String {
    format!(",\"pipeline\":{}", serde_json::Value::from(name))
}

/// See the head of the file.
pub(super) struct Json {
    inner: Format<format::Json>,
}

impl Default for Json {
    fn default() -> Json {
        let inner = Format::default().json().flatten_event(true).with_current_span(false).with_span_list(false);
        Json { inner: inner.with_ansi(false) }
    }
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(&with(&line, PIPELINE.get().map_or("", String::as_str)))?;
        writer.write_char('\n')
    }
}

/// Appends a field to the object.
fn with(line: &str, field: &str) -> String {
    let line = line.trim_end();
    match line.strip_suffix('}') {
        Some(open) => format!("{open}{field}}}"),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_a_json_object_with_any_pipeline_name() {
        let line = with("{\"message\":\"a } b\"}\n", &field("a\"b\\"));
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object, serde_json::json!({"message": "a } b", "pipeline": "a\"b\\"}));
        assert_eq!(with("{\"a\":1}\n", ""), "{\"a\":1}");
    }
}
