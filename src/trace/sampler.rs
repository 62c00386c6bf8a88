//! PURE. Which traces are recorded: `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`.
//!
//! A ratio decides by the trace's number, as the SDKs of OpenTelemetry do, so that all of them record the same traces.

use std::fmt;

/// A sampler.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sampler {
    /// Whether a trace that comes with a record is recorded if its sender records it.
    is_parent_based: bool,
    /// What is decided otherwise.
    root: Root,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Root {
    On,
    Off,
    /// This share of all traces.
    Ratio(f64),
}

impl Sampler {
    /// The sampler of these variables. The default records the traces that the senders of records record, and begins none.
    ///
    /// # Errors
    /// What is wrong with a variable, and what to do.
    pub(super) fn read(name: Option<&str>, argument: Option<&str>) -> Result<Sampler, String> {
        let name = name.unwrap_or("parentbased_always_off");
        let (is_parent_based, root) = match name.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, name),
        };
        let root = match root {
            "always_on" => Root::On,
            "always_off" => Root::Off,
            "traceidratio" => Root::Ratio(ratio(argument)?),
            _ => {
                return Err(format!(
                    "OTEL_TRACES_SAMPLER is `{name}`: write always_on, always_off, traceidratio, or one of these behind `parentbased_`"
                ));
            }
        };
        Ok(Sampler { is_parent_based, root })
    }

    /// Whether nothing is ever recorded.
    pub(super) fn is_off(self) -> bool {
        self == Sampler { is_parent_based: false, root: Root::Off }
    }

    /// Whether a trace is recorded. `parent` says whether the sender of the record records it, if the record has a context; `trace` is
    /// asked for the trace's number only if that decides.
    pub(super) fn records(self, parent: Option<bool>, trace: impl FnOnce() -> u128) -> bool {
        match (parent.filter(|_| self.is_parent_based), self.root) {
            (Some(sampled), _) => sampled,
            (None, Root::On) => true,
            (None, Root::Off) => false,
            (None, Root::Ratio(ratio)) => is_within(ratio, trace()),
        }
    }
}

impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parent = if self.is_parent_based { "parentbased_" } else { "" };
        match self.root {
            Root::On => write!(f, "{parent}always_on"),
            Root::Off => write!(f, "{parent}always_off"),
            Root::Ratio(ratio) => write!(f, "{parent}traceidratio of {ratio}"),
        }
    }
}

fn ratio(argument: Option<&str>) -> Result<f64, String> {
    let Some(text) = argument else { return Ok(1.0) };
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| format!("OTEL_TRACES_SAMPLER_ARG is `{text}`: write a number from 0 to 1, such as 0.01"))
}

/// Whether the lower 63 bits of the trace's number are within this share of all that there are.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "the lower half of the number; the ratio is from 0 to 1"
)]
fn is_within(ratio: f64, trace: u128) -> bool {
    let bound = (ratio * (1_u64 << 63) as f64) as u64;
    (trace as u64) >> 1 < bound
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, argument: Option<&str>) -> Sampler {
        Sampler::read(Some(name), argument).unwrap()
    }

    #[test]
    fn the_sender_decides_about_its_traces_only_for_a_parent_based_sampler() {
        let never = || -> u128 { panic!("the number doesn't matter") };
        for (name, without, sampled, unsampled) in [
            ("always_on", true, true, true),
            ("always_off", false, false, false),
            ("parentbased_always_on", true, true, false),
            ("parentbased_always_off", false, true, false),
        ] {
            let sampler = read(name, None);
            let decided = [None, Some(true), Some(false)].map(|parent| sampler.records(parent, never));
            assert_eq!(decided, [without, sampled, unsampled], "{name}");
            assert_eq!(sampler.is_off(), name == "always_off");
            assert_eq!(sampler.to_string(), name);
        }
        assert_eq!(Sampler::read(None, None).unwrap(), read("parentbased_always_off", None));
    }

    #[test]
    fn a_ratio_decides_by_the_lower_half_of_the_number() {
        let half = read("traceidratio", Some("0.5"));
        let upper = u128::from(u64::MAX) << 64;
        assert!(half.records(Some(false), || upper | 0x7fff_ffff_ffff_fffe), "the sender has no say");
        assert!(!half.records(Some(true), || upper | 0x8000_0000_0000_0000));
        assert!(read("parentbased_traceidratio", Some("0")).records(Some(true), || 1));
        assert!(!read("traceidratio", Some("0")).records(None, || 1));
        assert!(read("traceidratio", None).records(None, || u128::MAX));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (name, argument, part) in [
            ("sometimes", None, "`sometimes`"),
            ("parentbased_jaeger_remote", None, "jaeger_remote"),
            ("traceidratio", Some("2"), "from 0 to 1"),
            ("traceidratio", Some("NaN"), "from 0 to 1"),
            ("traceidratio", Some(""), "from 0 to 1"),
        ] {
            let why = Sampler::read(Some(name), argument).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
    }
}
