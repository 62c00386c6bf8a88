//! The processes that are asked: the first one, where it sends the question, and the other members of the group.

use percent_encoding::AsciiSet;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::percent_encode;
use serde::Deserialize;
use serde_json::Value;

use super::Asked;
use crate::cli::exit_code::Exit;
use crate::cli::http;
use crate::cli::http::HttpAnswer;
use crate::cli::load;
use crate::kafka::settings::is_address;

/// The pipeline that is asked.
pub(super) struct Place {
    /// `host:port` of the process to begin with.
    pub(super) address: String,
    /// The path of the step: `/state/STEP`.
    pub(super) path: String,
}

/// A member of the group that has other partitions.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct OtherMember {
    pub(super) member: String,
    pub(super) partitions: Vec<i32>,
    pub(super) address: Option<String>,
}

/// How often a question is sent on: while the group moves partitions, members may point at each other.
const HOPS_MAX: usize = 5;

impl Place {
    /// Reads the pipeline's file.
    pub(super) fn of(asked: &Asked) -> Result<Place, Exit> {
        let config = load::file(&asked.file, None)?;
        let Some(windowed) = &config.windowed else {
            return Err(Exit::Invalid(format!("{} has no step with windows", asked.file.path.display())));
        };
        let address = match &asked.at {
            Some(address) if is_address(address) => address.clone(),
            Some(address) => return Err(Exit::Usage(format!("state: --at `{address}` is not `host:port`"))),
            None if config.http.port() == 0 => {
                let what =
                    "state: the file's `http.listen` has port 0, so the process has chosen a port: name it with --at";
                return Err(Exit::Usage(what.into()));
            }
            None => {
                let mut listen = config.http;
                match listen.ip() {
                    std::net::IpAddr::V4(ip) if ip.is_unspecified() => {
                        listen.set_ip(std::net::Ipv4Addr::LOCALHOST.into())
                    }
                    std::net::IpAddr::V6(ip) if ip.is_unspecified() => {
                        listen.set_ip(std::net::Ipv6Addr::LOCALHOST.into())
                    }
                    std::net::IpAddr::V4(_) | std::net::IpAddr::V6(_) => {}
                }
                listen.to_string()
            }
        };
        Ok(Place { address, path: format!("/state/{}", encoded(windowed.name.as_bytes())) })
    }
}

/// Asks a process, and those that it sends the question on to.
///
/// # Errors
/// Why there is no answer.
pub(super) fn ask(address: &str, path: &str) -> Result<HttpAnswer, String> {
    let (mut address, mut path) = (address.to_owned(), path.to_owned());
    for _ in 0..=HOPS_MAX {
        let answer = http::get(&address, &path).map_err(|why| format!("{address}: {why}"))?;
        if answer.status != 307 {
            return Ok(answer);
        }
        let location = answer.location.as_deref().and_then(|location| location.strip_prefix("http://"));
        let next = location.and_then(|location| location.find('/').map(|at| location.split_at(at)));
        let Some((host, rest)) = next.filter(|(host, _)| is_address(host)) else {
            return Err(format!("{address}: it sends the question to an address that can't be read"));
        };
        (address, path) = (host.to_owned(), rest.to_owned());
    }
    Err(format!("{address}: the question was sent on {HOPS_MAX} times; the group may be assigning partitions"))
}

/// No process could be asked.
pub(super) fn unreached(why: &str) -> Exit {
    Exit::Unreachable(format!("the pipeline can't be asked: {why}; is it running? --at names another address"))
}

/// An answer that isn't one to the question: what it says.
pub(super) fn refused(answer: &HttpAnswer) -> Exit {
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let text = match body["error"].as_str() {
        Some(error) => error.to_owned(),
        None => format!("the answer has the status {} and can't be read; is it a wasmill?", answer.status),
    };
    let restoring = &body["restoring"];
    let progress = match (restoring["records_read"].as_u64(), restoring["records_total"].as_u64()) {
        (Some(read), Some(total)) => format!(": {read} of {total} changelog records are read"),
        _ => String::new(),
    };
    let text = format!("{text}{progress}");
    // What may be different soon, and what the file or the command has wrong.
    if [503, 504].contains(&answer.status) { Exit::Stopped(text) } else { Exit::Invalid(text) }
}

/// The other members that an answer names; `None` if it isn't one about keys.
pub(super) fn others(body: &str) -> Option<Vec<OtherMember>> {
    let body: Value = serde_json::from_str(body).ok()?;
    serde_json::from_value(body.get("others")?.clone()).ok()
}

/// What is said of members that could not be asked.
pub(super) fn unasked(members: &[String]) -> String {
    format!("not asked: {}", members.join("; "))
}

/// Why a member can't be asked.
pub(super) fn has_no_address(other: &OtherMember) -> String {
    format!("member `{}` with partitions {:?}, which has no `http.advertise`", other.member, other.partitions)
}

/// Percent-encodes everything but letters, digits and `-._~`.
pub(super) fn encoded(bytes: &[u8]) -> String {
    const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    percent_encode(bytes, ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_any_bytes_is_one_part_of_a_path() {
        assert_eq!(encoded(b"a-Z_0.~"), "a-Z_0.~");
        assert_eq!(encoded("\0/ ?%+\u{fc}".as_bytes()), "%00%2F%20%3F%25%2B%C3%BC");
    }

    #[test]
    fn an_answer_without_others_is_not_about_a_key() {
        assert_eq!(others(r#"{"error":"no step"}"#), None);
        let named = r#"{"others":[{"member":"m","partitions":[1],"address":null}]}"#;
        assert_eq!(others(named), Some(vec![OtherMember { member: "m".into(), partitions: vec![1], address: None }]));
    }
}
