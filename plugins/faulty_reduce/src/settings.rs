//! What goes wrong, where and when.

use serde::Deserialize;

/// The settings, of which all are optional: without `fault` nothing goes wrong.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    fault: Option<Fault>,
    #[serde(rename = "in", default)]
    place: Place,
    #[serde(default = "bad")]
    marker: String,
    attempts: Option<u32>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    Trap,
    Loop,
    Error,
    Reject,
    Retry,
    TooFewLengths,
    TooManyLengths,
    #[serde(rename = "length-below-2")]
    LengthBelow2,
    BytesLeftOver,
    BytesMissing,
    CellTooLarge,
    FailuresOutOfOrder,
    FailureOutOfRange,
}

/// The function in which it goes wrong.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Place {
    #[default]
    Add,
    Merge,
    Emit,
}

/// What a call is told to do.
pub(crate) struct Told {
    /// `None`: nothing goes wrong.
    pub(crate) fault: Option<Fault>,
    /// The records or windows of the call that it is about.
    pub(crate) of: Vec<u32>,
    /// How many the call has.
    pub(crate) all: u32,
}

impl Settings {
    pub(crate) fn parse(text: &str) -> Result<Settings, String> {
        let settings: Settings = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let is_possible = match settings.fault {
            Some(Fault::Reject | Fault::Retry | Fault::FailuresOutOfOrder | Fault::FailureOutOfRange) => {
                settings.place != Place::Merge
            }
            Some(Fault::CellTooLarge) => settings.place != Place::Emit,
            _ => true,
        };
        if is_possible { Ok(settings) } else { Err("there is no such fault in this function".to_owned()) }
    }

    /// Whether a value contains the marker.
    pub(crate) fn is_marked(&self, value: Option<&[u8]>) -> bool {
        let text = String::from_utf8_lossy(value.unwrap_or_default());
        !self.marker.is_empty() && text.contains(&self.marker)
    }

    /// What to do in a call, by which of its records or windows are marked and how often they were tried before.
    pub(crate) fn told(&self, place: Place, marked: &[bool], attempts: &[u32]) -> Told {
        let most = self.attempts.or((self.fault == Some(Fault::Retry)).then_some(1)).unwrap_or(u32::MAX);
        let attempts = attempts.iter().copied().chain(std::iter::repeat(0));
        let of: Vec<u32> = (0..)
            .zip(marked.iter().zip(attempts))
            .filter(|(_, (marked, attempt))| **marked && *attempt < most)
            .map(|(index, _)| index)
            .collect();
        let fault = self.fault.filter(|_| self.place == place && !of.is_empty());
        Told { fault, of, all: u32::try_from(marked.len()).unwrap_or(u32::MAX) }
    }
}

fn bad() -> String {
    "bad".to_owned()
}
