//! The example `enrich` in Python: built and run as its page says, with its server.

use std::io::BufRead as _;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::Child;
use std::process::Stdio;

use super::Wasmill;
use super::cache;
use super::venv;
use crate::stage;
use crate::toolchain;

/// What `dev` says at its end: one order is of a customer that the server doesn't know.
const SUMMARY: &str = "in 40  out 39  dead-lettered 1  failed 0";

/// The server, which ends with this value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It has nothing to finish.
        drop(self.0.kill().and_then(|()| self.0.wait()));
    }
}

pub(super) fn python(wasmill: &Wasmill, paths: &[PathBuf]) -> Result<(), String> {
    let folder = stage::root().join("examples/enrich/python");
    let (_server, url) = serve()?;
    wasmill.command(&folder, paths, &["build"])?;
    let mut dev = toolchain::program(&wasmill.program, &folder);
    dev.args(["dev", "pipeline.toml", "--feed", "../input.ndjson", "--http", "127.0.0.1:0"]);
    dev.args(["--set", &format!("step.0.settings.url=\"{url}\"")]);
    dev.args(["--set", &format!("step.0.allow.http=[\"{}\"]", url.trim_end_matches("/customers"))]);
    // Fewer instances than on a machine that does nothing else: each has the whole interpreter.
    dev.args(["--set", "limits.parallelism=8"]);
    let output = dev.env("WASMILL_CACHE", cache()?).output().map_err(|error| format!("start wasmill: {error}"))?;
    let [printed, said] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    match said.contains(SUMMARY) && printed.matches("tier").count() == 39 {
        true => Ok(()),
        false => Err(format!("enrich: no `{SUMMARY}`, or no 39 orders with a tier:\n{printed}{said}")),
    }
}

/// Starts the server on a free port. Returns its address, which it prints.
fn serve() -> Result<(Server, String), String> {
    let mut python = toolchain::program(venv().join("bin/python"), stage::root());
    python.args(["examples/enrich/server.py", "0"]).stdout(Stdio::piped());
    let mut server = python.spawn().map(Server).map_err(|error| format!("start the server: {error}"))?;
    let mut line = String::new();
    let out = server.0.stdout.take().ok_or("the server has no output")?;
    BufReader::new(out).read_line(&mut line).map_err(|error| format!("read the server's address: {error}"))?;
    let url = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
    Ok((server, url))
}
