//! Why a group doesn't take a member, told apart by what brokers answer to FindCoordinator, JoinGroup and SyncGroup. PURE.
//!
//! Most codes are the course of things (a rebalance, a coordinator that moves), and librdkafka tries again. Those here come back at
//! every try, until somebody changes a setting, here or at the brokers or of another member.

use std::time::Duration;

use super::Settings;
use super::sys::Code;

/// The protocol that all our members use.
pub const PROTOCOL: &str = "cooperative-sticky";

/// Why a group doesn't take a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The session's time-out is outside of what the brokers take.
    SessionTimeout,
    /// The other members use another protocol.
    Protocol,
    /// The group's name is none.
    GroupName,
    /// The group has as many members as the brokers permit.
    Full,
    /// Another member has the same instance id, and holds on to its place.
    InstanceId,
}

/// What a code says about that; `None` for what is dealt with elsewhere or passes by itself.
pub(super) fn refusal(code: Code) -> Option<Refusal> {
    let refusal = match code.0 {
        26 => Refusal::SessionTimeout,
        23 | 112 => Refusal::Protocol,
        24 => Refusal::GroupName,
        81 => Refusal::Full,
        111 => Refusal::InstanceId,
        // A coordinator that loads, isn't there, or is another one (14, 15, 16), a member that is a new one to it (22, 25, 79), a
        // rebalance (27): the next try is another matter. A permission (30, 29) is a halt, and 82 ends the client.
        _ => return None,
    };
    Some(refusal)
}

impl Refusal {
    /// Whether a setting of the file alone is wrong, so that waiting changes nothing.
    #[must_use]
    pub fn is_in_the_file(self) -> bool {
        match self {
            Refusal::SessionTimeout | Refusal::GroupName => true,
            Refusal::Protocol | Refusal::Full | Refusal::InstanceId => false,
        }
    }

    /// What is wrong, and what to do. `protocol` is what the others use, if known.
    #[must_use]
    pub fn text(self, settings: &Settings, protocol: Option<&str>) -> String {
        let input = &settings.input;
        let group = &input.group;
        match self {
            Refusal::SessionTimeout => session_timeout(input.session_timeout, None),
            Refusal::Protocol => other_protocol(group, protocol),
            Refusal::GroupName => format!("the brokers don't take `{group}` as a group's name: set `input.group`"),
            Refusal::Full => format!(
                "the group `{group}` has as many members as the brokers permit (group.max.size): run fewer processes, or raise it"
            ),
            Refusal::InstanceId => format!(
                "another member of the group `{group}` has the instance id `{}`: give each process its own `input.instance_id`",
                input.instance_id.as_deref().unwrap_or_default()
            ),
        }
    }
}

/// What to say of a session's time-out that the brokers don't take; `bounds` are theirs, if known.
#[must_use]
pub fn session_timeout(timeout: Duration, bounds: Option<(Duration, Duration)>) -> String {
    let bounds = match bounds {
        Some((least, most)) => format!("they take {least:?} to {most:?}"),
        None => "by default they take 6s to 30 minutes".to_owned(),
    };
    format!(
        "the brokers don't take `input.session_timeout` = {timeout:?}: {bounds} (group.min.session.timeout.ms and \
         group.max.session.timeout.ms): change it there or here"
    )
}

/// What to say of a group whose members use another protocol.
#[must_use]
pub fn other_protocol(group: &str, protocol: Option<&str>) -> String {
    let theirs =
        protocol.map_or_else(|| "another protocol".to_owned(), |protocol| format!("the protocol `{protocol}`"));
    format!(
        "the group `{group}` has members that use {theirs}, and this one uses `{PROTOCOL}`: stop them, or set another `input.group`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_that_comes_back_at_every_try_names_the_setting() {
        let mut settings = Settings::example();
        settings.input.instance_id = Some("a-1".into());
        settings.input.session_timeout = Duration::from_secs(45 * 60);
        let named = [
            (26, "`input.session_timeout` = 2700s"),
            (23, "the protocol `range`"),
            (112, "`input.group`"),
            (24, "`input.group`"),
            (81, "group.max.size"),
            (111, "`a-1`"),
        ];
        for (code, expected) in named {
            let refusal = refusal(Code(code)).unwrap();
            let text = refusal.text(&settings, Some("range"));
            assert!(text.contains(expected), "{code}: {text}");
            assert_eq!(refusal.is_in_the_file(), [24, 26].contains(&code), "{code}");
        }
    }

    #[test]
    fn what_passes_by_itself_or_is_told_elsewhere_is_no_refusal() {
        for code in [0, 14, 15, 16, 22, 25, 27, 29, 30, 79, 82, -195, -185] {
            assert_eq!(refusal(Code(code)), None, "{code}");
        }
    }
}
