//! The commands for operators of pipelines: they ask the process that runs them.

mod act;
mod logs;
mod status;

use clap::Args as ClapArgs;
use hyper::Method;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use serde::de::DeserializeOwned;

use super::exit_code::Exit;
use super::http;
use super::http::HttpAnswer;
use crate::admin::view::Problem;

pub(super) use act::Act;
pub(super) use act::Reload;
pub(super) use act::Skip;
pub(super) use act::reload;
pub(super) use act::run as act;
pub(super) use act::skip;
pub(super) use logs::Logs;
pub(super) use logs::run as logs;
pub(super) use status::Status;
pub(super) use status::run as status;

/// Which process is asked.
#[derive(Debug, ClapArgs)]
struct Process {
    /// The address that the process serves metrics at
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9108", env = "WASMILL_URL")]
    url: String,
}

/// The token of the process.
#[derive(Debug, ClapArgs)]
struct Token {
    /// The token of `[http] token` in the process's wasmill.toml
    #[arg(long, value_name = "TOKEN", env = "WASMILL_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl Token {
    fn get(&self) -> Option<&str> {
        self.token.as_deref().map(str::trim)
    }
}

impl Process {
    /// Sends a request, and reads the answer.
    ///
    /// # Errors
    /// If there is no answer, or it is an error.
    fn ask<T: DeserializeOwned>(&self, method: &Method, path: &str, token: Option<&str>) -> Result<T, Exit> {
        let address = self.address()?;
        let answer = http::send(&address, method, path, token).map_err(|why| {
            Exit::Unreachable(format!(
                "no answer from {address}: {why}; does a `wasmill run` listen there? Name its address with --url"
            ))
        })?;
        let HttpAnswer { status, body, .. } = answer;
        if (200..300).contains(&status) {
            let unread = |error: serde_json::Error| {
                Exit::Invalid(format!(
                    "{address} answers {path} with something else than this version of wasmill knows: {error}"
                ))
            };
            return serde_json::from_str(&body).map_err(unread);
        }
        match serde_json::from_str::<Problem>(&body) {
            Ok(problem) => Err(Exit::Stopped(problem.detail)),
            Err(_) => {
                Err(Exit::Invalid(format!("{address} answers {path} with {status}: is it a wasmill of this version?")))
            }
        }
    }

    /// `host:port`.
    fn address(&self) -> Result<String, Exit> {
        let rest = self.url.strip_prefix("http://").unwrap_or(&self.url).trim_end_matches('/');
        if rest.is_empty() || rest.contains(['/', '?', '@']) {
            let what = format!(
                "--url: `{}` is not an address: write `http://HOST:PORT`; https needs a proxy of yours",
                self.url
            );
            return Err(Exit::Usage(what));
        }
        let has_port = rest.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Ok(if has_port { rest.to_owned() } else { format!("{rest}:80") })
    }
}

/// The path of a pipeline in the API.
fn path(pipeline: &str) -> String {
    format!("/api/v1/pipelines/{}", utf8_percent_encode(pipeline, NON_ALPHANUMERIC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_with_and_without_its_scheme() {
        let address = |url: &str| Process { url: url.into() }.address().map_err(|exit| exit.message().to_owned());
        for url in ["http://mill:9108", "mill:9108", "http://mill:9108/"] {
            assert_eq!(address(url).as_deref(), Ok("mill:9108"), "{url}");
        }
        assert_eq!(address("http://mill").as_deref(), Ok("mill:80"));
        assert_eq!(address("[::1]:9108").as_deref(), Ok("[::1]:9108"));
        for url in ["https://mill:9108", "http://a:b@mill", "", "http://mill/metrics"] {
            assert!(address(url).unwrap_err().contains("http://HOST:PORT"), "{url}");
        }
        assert_eq!(path("re funds"), "/api/v1/pipelines/re%20funds");
    }
}
