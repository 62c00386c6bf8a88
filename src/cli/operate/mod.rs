//! The commands for operators of pipelines: they ask the process that runs them.

mod act;
mod log_filter;
mod logs;
mod status;
mod tap;

use std::ops::ControlFlow;

use clap::Args as ClapArgs;
use hyper::Method;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use serde::de::DeserializeOwned;

use super::exit_code::Exit;
use super::http;
use super::http::Followed;
use super::http::HttpAnswer;
use super::http::HttpRequest;
use super::http::StreamEvent;
use crate::admin::view::Problem;

pub(super) use act::Act;
pub(super) use act::Reload;
pub(super) use act::Skip;
pub(super) use act::reload;
pub(super) use act::run as act;
pub(super) use act::skip;
pub(super) use log_filter::LogFilter;
pub(super) use log_filter::run as log_filter;
pub(super) use logs::Logs;
pub(super) use logs::run as logs;
pub(super) use status::Status;
pub(super) use status::run as status;
pub(super) use tap::Tap;
pub(super) use tap::run as tap;

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
        self.send(method, path, token, "")
    }

    /// The same, with a body.
    fn send<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        token: Option<&str>,
        body: &str,
    ) -> Result<T, Exit> {
        let address = self.address()?;
        let request = HttpRequest { address: &address, method, path, token, body };
        let answer = http::send(request).map_err(|why| unreachable(&address, &why))?;
        if !(200..300).contains(&answer.status) {
            return Err(refused(&address, path, &answer));
        }
        serde_json::from_str(&answer.body).map_err(|error| unknown(&address, path, &error))
    }

    /// Passes the events of a stream to `handle`: until that returns `Break`, or with an error until the process ends it.
    ///
    /// # Errors
    /// If there is no stream, or it ends without `handle` having enough. Or what `handle` returns.
    fn follow(
        &self,
        path: &str,
        token: Option<&str>,
        mut handle: impl FnMut(StreamEvent<'_>) -> Result<ControlFlow<()>, Exit>,
    ) -> Result<(), Exit> {
        let address = self.address()?;
        let request = HttpRequest { address: &address, method: &Method::GET, path, token, body: "" };
        let mut result = Ok(());
        let followed = http::follow(request, |event| match handle(event) {
            Ok(flow) => flow,
            Err(exit) => {
                result = Err(exit);
                ControlFlow::Break(())
            }
        });
        match followed {
            Ok(Followed::Enough) => result,
            Ok(Followed::Answer(answer)) => Err(refused(&address, path, &answer)),
            Ok(Followed::Ended) => {
                Err(Exit::Unreachable(format!("{address} has ended the stream: did the process end?")))
            }
            Err(why) => Err(unreachable(&address, &why)),
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

fn unreachable(address: &str, why: &str) -> Exit {
    Exit::Unreachable(format!(
        "no answer from {address}: {why}; does a `wasmill run` listen there? Name its address with --url"
    ))
}

fn unknown(address: &str, path: &str, error: &serde_json::Error) -> Exit {
    Exit::Invalid(format!("{address} answers {path} with something else than this version of wasmill knows: {error}"))
}

/// The data of an event.
fn read<T: DeserializeOwned>(data: &str) -> Result<T, Exit> {
    serde_json::from_str(data).map_err(|error| {
        Exit::Invalid(format!("the process sends something else than this version of wasmill knows: {error}"))
    })
}

/// An answer that says why something isn't done.
fn refused(address: &str, path: &str, HttpAnswer { status, body, .. }: &HttpAnswer) -> Exit {
    match serde_json::from_str::<Problem>(body) {
        Ok(problem) => Exit::Stopped(problem.detail),
        Err(_) => Exit::Invalid(format!("{address} answers {path} with {status}: is it a wasmill of this version?")),
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
