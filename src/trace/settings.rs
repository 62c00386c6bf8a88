//! Where traces go and which are recorded: the standard variables of OpenTelemetry, and the endpoint of `wasmill.toml`.
//!
//! Without an endpoint there are no traces, whatever the other variables say. What can't be followed is an error, so that nobody waits in
//! vain for spans.

use std::str::FromStr;
use std::time::Duration;

use super::sampler::Sampler;

/// The path of traces at an endpoint for all signals.
const PATH: &str = "v1/traces";

/// How many spans wait for the collector, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueueLimits {
    /// The most spans that wait; further ones are dropped.
    pub(super) spans_max: usize,
    /// The most spans in one request. With this many, they are sent at once.
    pub(super) batch_max: usize,
    /// How long fewer spans wait.
    pub(super) delay: Duration,
}

/// How records are traced.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSettings {
    /// The address for traces, with its path.
    pub(super) endpoint: String,
    /// For how long a request is tried.
    pub(super) timeout: Duration,
    pub(super) sampler: Sampler,
    pub(super) queue: QueueLimits,
}

/// Whether this is the URL of a collector; else what to write.
///
/// # Errors
/// What to write instead.
pub fn is_endpoint(url: &str) -> Result<(), &'static str> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let host = rest.map(|rest| rest.split('/').next().unwrap_or_default()).unwrap_or_default();
    let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic()) && !url.contains(['?', '#', '"']);
    if host.is_empty() || !is_plain {
        return Err("write the URL of a collector that takes OTLP over HTTP, such as \"http://collector:4318\"");
    }
    if host.contains('@') {
        return Err("take the user out, and put what the collector asks for into OTEL_EXPORTER_OTLP_HEADERS");
    }
    Ok(())
}

impl TraceSettings {
    /// The settings of these variables and of the file's endpoint, which the variables for endpoints replace. `None`: records are not traced.
    ///
    /// # Errors
    /// What is wrong with a variable, and what to do.
    pub fn read(
        of_file: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<TraceSettings>, String> {
        // An empty variable counts as none, as the standard says.
        let get = |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let is_disabled = get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let exporter = get("OTEL_TRACES_EXPORTER");
        let Some((origin, url)) = endpoint(of_file, &get) else { return Ok(None) };
        if is_disabled || exporter.as_deref() == Some("none") {
            return Ok(None);
        }
        is_endpoint(&url).map_err(|help| format!("{origin} is `{url}`: {help}"))?;
        if let Some(other) = exporter.filter(|exporter| exporter != "otlp") {
            return Err(format!("OTEL_TRACES_EXPORTER is `{other}`: write `otlp`, or `none` to trace nothing"));
        }
        for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
            if let Some(protocol) = get(name) {
                if protocol != "http/protobuf" {
                    return Err(format!(
                        "{name} is `{protocol}`: write `http/protobuf`, and an endpoint for it, mostly at port 4318"
                    ));
                }
                break;
            }
        }
        let sampler = Sampler::read(get("OTEL_TRACES_SAMPLER").as_deref(), get("OTEL_TRACES_SAMPLER_ARG").as_deref())?;
        let spans_max = number(&get, "OTEL_BSP_MAX_QUEUE_SIZE", 16_384)?.max(1);
        let queue = QueueLimits {
            spans_max,
            batch_max: number(&get, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)?.clamp(1, spans_max),
            delay: Duration::from_millis(number(&get, "OTEL_BSP_SCHEDULE_DELAY", 5000)?),
        };
        let timeout = number(&get, "OTEL_EXPORTER_OTLP_TIMEOUT", 10_000)?;
        let timeout = Duration::from_millis(number(&get, "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", timeout)?);
        Ok((!sampler.is_off()).then_some(TraceSettings { endpoint: url, timeout, sampler, queue }))
    }

    /// Where traces go and which are recorded, for the log.
    #[must_use]
    pub fn summary(&self) -> String {
        format!("{}, sampled by {}", self.endpoint, self.sampler)
    }
}

/// The address for traces, and where it comes from.
fn endpoint(of_file: Option<&str>, get: &impl Fn(&str) -> Option<String>) -> Option<(&'static str, String)> {
    let traces = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    if let Some(url) = get(traces) {
        return Some((traces, url));
    }
    let all = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let (origin, url) = match (get(all), of_file) {
        (Some(url), _) => (all, url),
        (None, Some(url)) => ("`trace.endpoint`", url.to_owned()),
        (None, None) => return None,
    };
    Some((origin, format!("{}/{PATH}", url.trim_end_matches('/'))))
}

fn number<T: FromStr>(get: &impl Fn(&str) -> Option<String>, name: &str, default: T) -> Result<T, String> {
    let Some(text) = get(name) else { return Ok(default) };
    text.parse().map_err(|_| format!("{name} is `{text}`: write a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(of_file: Option<&str>, variables: &[(&str, &str)]) -> Result<Option<TraceSettings>, String> {
        TraceSettings::read(of_file, |name| {
            variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_most_special_endpoint_counts_and_without_one_nothing_is_traced() {
        let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4318/base/");
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces/x");
        let on = ("OTEL_TRACES_SAMPLER", "always_on");
        assert_eq!(read(None, &[on, ("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]).unwrap(), None);
        for (of_file, variables, expected) in [
            (Some("http://file:4318"), &[][..], "http://file:4318/v1/traces, sampled by parentbased_always_off"),
            (Some("http://file:4318"), &[all][..], "http://all:4318/base/v1/traces, sampled by parentbased_always_off"),
            (None, &[all, traces, on][..], "https://traces/x, sampled by always_on"),
        ] {
            assert_eq!(read(of_file, variables).unwrap().unwrap().summary(), expected);
        }
        for off in
            [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_TRACES_SAMPLER", "always_off")]
        {
            assert_eq!(read(None, &[all, off]).unwrap(), None, "{off:?}");
        }
    }

    #[test]
    fn what_cannot_be_followed_is_an_error_that_names_the_variable() {
        let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4318");
        for (variables, part) in [
            (
                &[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")][..],
                "OTEL_EXPORTER_OTLP_ENDPOINT is `collector:4318",
            ),
            (&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a:b@c")][..], "OTEL_EXPORTER_OTLP_HEADERS"),
            (&[all, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")][..], "`http/protobuf`"),
            (&[all, ("OTEL_TRACES_EXPORTER", "zipkin")][..], "OTEL_TRACES_EXPORTER is `zipkin`"),
            (&[all, ("OTEL_TRACES_SAMPLER", "often")][..], "OTEL_TRACES_SAMPLER is `often`"),
            (&[all, ("OTEL_BSP_SCHEDULE_DELAY", "1s")][..], "OTEL_BSP_SCHEDULE_DELAY is `1s`"),
        ] {
            let why = read(None, variables).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf");
        assert!(read(None, &[all, traces, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).unwrap().is_some());
        assert!(is_endpoint("http:///x").is_err() && is_endpoint("https://a").is_ok());
    }
}
