//! Why a group rejects a member, from the brokers' answers to FindCoordinator, JoinGroup and SyncGroup. PURE.
//!
//! Most error codes are part of normal operation (a rebalance, a coordinator that moves), and librdkafka retries. The
//! codes here come back at every retry until somebody changes a setting of this pipeline, of the brokers or of another
//! member.

use std::time::Duration;

use super::Settings;
use super::sys::Code;

/// The protocol that all members of wasmill use.
pub const PROTOCOL: &str = "cooperative-sticky";

/// Why a group rejects a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The session timeout is outside the brokers' limits.
    SessionTimeout,
    /// The other members use another protocol.
    Protocol,
    /// The group's name is invalid.
    GroupName,
    /// The group has as many members as the brokers permit.
    Full,
    /// Another member has the same instance id and keeps its place.
    InstanceId,
}

/// The refusal that a code stands for. `None` for a code that is handled elsewhere or that a retry resolves.
pub(super) fn refusal(code: Code) -> Option<Refusal> {
    let refusal = match code.0 {
        26 => Refusal::SessionTimeout,
        23 | 112 => Refusal::Protocol,
        24 => Refusal::GroupName,
        81 => Refusal::Full,
        111 => Refusal::InstanceId,
        // A retry resolves a coordinator that is loading, missing or moved (14, 15, 16), a member that it doesn't know
        // (22, 25, 79) and a rebalance (27). A missing permission (29, 30) is handled as a denial, and 82 is fatal to
        // the client.
        _ => return None,
    };
    Some(refusal)
}

/// Whether an instance id looks like the name that Kubernetes generates for a pod of a Deployment: the deployment's name, a hash of the
/// version, and five random characters, from an alphabet without vowels. No later member has it.
#[must_use]
pub fn is_generated(id: &str) -> bool {
    let is_made = |part: &str| part.bytes().all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte));
    let mut parts = id.rsplit('-');
    let (pod, version, deployment) = (parts.next(), parts.next(), parts.next());
    pod.is_some_and(|pod| pod.len() == 5 && is_made(pod))
        && version.is_some_and(|version| (8..=10).contains(&version.len()) && is_made(version))
        && deployment.is_some()
}

impl Refusal {
    /// Whether the config file alone is wrong, so that waiting changes nothing.
    #[must_use]
    pub fn is_in_the_file(self) -> bool {
        match self {
            Refusal::SessionTimeout | Refusal::GroupName => true,
            Refusal::Protocol | Refusal::Full | Refusal::InstanceId => false,
        }
    }

    /// What is wrong, and what to do. `protocol` is the other members' protocol, if known.
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

/// The message about a session timeout that the brokers reject. `bounds` are the brokers' limits, if known.
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

/// The message about a group whose members use another protocol.
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
    fn each_code_that_retries_do_not_resolve_names_the_setting() {
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
    fn codes_that_a_retry_resolves_or_that_are_handled_elsewhere_are_not_refusals() {
        for code in [0, 14, 15, 16, 22, 25, 27, 29, 30, 79, 82, -195, -185] {
            assert_eq!(refusal(Code(code)), None, "{code}");
        }
    }

    #[test]
    fn a_pod_name_generated_by_kubernetes_is_recognised() {
        for name in ["orders-6d4cf56db6-x7k2p", "my-orders-59d9f4bd8-zzt4q"] {
            assert!(is_generated(name), "{name}");
        }
        for name in ["orders-0", "orders-eu-west-1", "orders", "6d4cf56db6-x7k2p", "worker-instance-alpha", ""] {
            assert!(!is_generated(name), "{name}");
        }
    }
}
