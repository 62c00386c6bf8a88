//! A log line with the pipeline that it is about: as JSON, one object, or as text.
//!
//! Everything except the pipeline's name is written by `tracing_subscriber`.

use std::fmt;

use tracing::Event;
use tracing::Subscriber;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::FormatEvent;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format;
use tracing_subscriber::fmt::format::Format;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::registry::LookupSpan;

use super::pipeline;

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
        let pipeline = pipeline::current().map_or_else(String::new, |name| field(&name));
        writer.write_str(&with(&line, &pipeline))?;
        writer.write_char('\n')
    }
}

/// Text for people, which begins with the pipeline's name where the process runs several.
pub(super) struct Human<T>(pub(super) T);

impl<S, N, T> FormatEvent<S, N> for Human<T>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    T: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if let Some(name) = pipeline::of_thread() {
            write!(writer, "{name} ")?;
        }
        self.0.format_event(context, writer, event)
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
