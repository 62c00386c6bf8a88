//! Begins to trace the records of the process, if its settings or the environment name a collector.

use std::env;

use super::exit_code::Exit;
use crate::trace;
use crate::trace::TraceSettings;
use crate::trace::Traces;

/// Begins to trace records. They are traced until the value is dropped, which sends the rest. `of_file` is the endpoint of `wasmill.toml`.
///
/// # Errors
/// If a variable or the endpoint can't be followed.
pub(super) fn start(of_file: Option<&str>) -> Result<Option<Traces>, Exit> {
    // A program without traces ignores variables that are meant for all programs of a machine.
    if !trace::IS_THERE && of_file.is_none() {
        return Ok(None);
    }
    let settings = TraceSettings::read(of_file, |name| env::var(name).ok());
    let settings = settings.map_err(|why| Exit::Invalid(format!("trace records: {why}")))?;
    let Some(settings) = settings else { return Ok(None) };
    let traces = trace::start(&settings).map_err(|why| Exit::Invalid(format!("trace records: {why}")))?;
    tracing::info!("traces go to {}", settings.summary());
    Ok(Some(traces))
}
