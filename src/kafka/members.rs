//! The members of the group: which partitions of the input each has, and at which address it answers questions.
//!
//! A member tells its address in its `client.id`, which the coordinator shows to every member. The text comes from another process, so it
//! is used only if it has the form of an address.

use std::sync::Arc;

use super::Settings;
use super::sys::Client;
use super::sys::DescribedMember;

/// A member of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id in the group.
    pub id: String,
    /// `host:port` of its HTTP server, if it tells.
    pub address: Option<String>,
    /// Its partitions of the input topic, in order.
    pub partitions: Vec<i32>,
}

/// The members of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMembers {
    /// The number of partitions of the input topic.
    pub partitions: usize,
    /// All members.
    pub members: Vec<GroupMember>,
}

/// Before the address in a `client.id`.
const MARK: char = '@';
/// The longest address.
const ADDRESS_BYTES_MAX: usize = 300;

/// A `client.id` with the address.
pub(super) fn client_id(id: &str, address: &str) -> String {
    format!("{id}{MARK}{address}")
}

/// Whether a text is `host:port`: a name, an IPv4 address, or an IPv6 address in brackets.
#[must_use]
pub fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_name = |host: &str| host.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_'));
    let is_ip6 = |host: &str| host.bytes().all(|c| c.is_ascii_hexdigit() || matches!(c, b':' | b'.'));
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = inner.map_or_else(|| !host.is_empty() && is_name(host), |inner| inner.len() > 1 && is_ip6(inner));
    let is_port = !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit());
    text.len() <= ADDRESS_BYTES_MAX && is_host && is_port && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Asks the coordinator for the members. Blocks.
pub(super) fn ask(client: &Arc<Client>, settings: &Settings, timeout_ms: i32) -> Result<GroupMembers, String> {
    let topic = settings.input.topics.first().map(String::as_str).unwrap_or_default();
    let partitions = client.leaders(topic, timeout_ms).map_err(|error| error.to_string())?.len();
    let group = client.describe_group(&settings.input.group, timeout_ms).map_err(|error| error.to_string())?;
    if let Some(error) = group.error {
        return Err(error.to_string());
    }
    let members = group.members.into_iter().map(|member| of(member, topic)).collect();
    Ok(GroupMembers { partitions, members })
}

fn of(member: DescribedMember, topic: &str) -> GroupMember {
    let DescribedMember { id, client_id, partitions } = member;
    let mut own: Vec<i32> =
        partitions.into_iter().filter(|(of, _)| of == topic).map(|(_, partition)| partition).collect();
    own.sort_unstable();
    let address = client_id.rsplit_once(MARK).map(|(_, address)| address).filter(|address| is_address(address));
    GroupMember { id, address: address.map(str::to_owned), partitions: own }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_host_and_a_port_are_an_address() {
        for address in ["10.0.0.7:9108", "wasmill-0.wasmill.svc:9108", "[::1]:1", "[2001:db8::7]:65535", "a_b:80"] {
            assert!(is_address(address), "{address}");
        }
        for text in [
            "",
            "a",
            ":80",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "a b:80",
            "http://a:80",
            "a:80/x",
            "::1:80",
            "[]:80",
            "[a b]:80",
            "a\r\nX: y:80",
            "a@b:80",
        ] {
            assert!(!is_address(text), "{text:?}");
        }
    }

    #[test]
    fn a_members_address_is_in_its_client_id_and_other_topics_do_not_count() {
        let member = |client_id: &str| DescribedMember {
            id: "m".into(),
            client_id: client_id.into(),
            partitions: vec![("in".into(), 3), ("x".into(), 7), ("in".into(), 1)],
        };
        let told = of(member(&client_id("wasmill-orders-0", "h:1")), "in");
        assert_eq!(told, GroupMember { id: "m".into(), address: Some("h:1".into()), partitions: vec![1, 3] });
        for silent in ["wasmill-orders-0", "odd@", "odd@h", "odd@h:1/x"] {
            assert_eq!(of(member(silent), "in").address, None, "{silent}");
        }
    }
}
