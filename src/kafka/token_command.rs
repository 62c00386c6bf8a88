//! Runs a command that prints a token.
//!
//! Without a shell, with wasmill's environment, and in a process group of its own, which is killed at the time limit. Invariant: [`output`]
//! returns within its limit, and keeps no more of the command's output than a token can need.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use super::probe::now;
use super::token::TokenCommand;
use super::token::first_line;
use crate::telemetry;

/// How long a command may take.
pub(super) const LIMIT: Duration = Duration::from_secs(30);
/// The most bytes that a command may print, and the most that are read of its errors.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Between two looks at whether the command has ended.
const STEP: Duration = Duration::from_millis(20);

/// What the command prints. The error is what follows "the command ..", with the first line of the command's errors.
pub(super) fn output(command: &TokenCommand, limit: Duration) -> Result<Vec<u8>, String> {
    let mut child = Command::new(&command.program)
        .args(command.arguments.iter().map(|argument| &argument.0))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("can't be started: {error}"))?;
    let ended = wait(&mut child, limit);
    if ended.is_err() {
        kill(&mut child);
    }
    let (status, printed, errors) = ended?;
    if !status.success() {
        let said = first_line(&errors);
        let said = if said.is_empty() { said } else { format!(": {said}") };
        return Err(format!("failed with {status}{said}"));
    }
    Ok(printed)
}

/// Waits until the command has ended and closed its output and its errors, which are returned in this order.
fn wait(child: &mut Child, limit: Duration) -> Result<(ExitStatus, Vec<u8>, Vec<u8>), String> {
    let deadline = now() + limit;
    let (sender, read) = mpsc::channel();
    let pipes: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
        child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
    ];
    for (index, pipe) in pipes.into_iter().enumerate() {
        let sender = sender.clone();
        let run = move || drop(sender.send((index, pipe.map(read_some).unwrap_or_default())));
        telemetry::spawn("token-output", run).map_err(|error| format!("can't be read: {error}"))?;
    }
    let (mut status, mut texts) = (None, [None, None]);
    loop {
        if status.is_none() {
            status = child.try_wait().map_err(|error| format!("can't be waited for: {error}"))?;
        }
        if let (Some(status), [Some(_), Some(_)]) = (status, &texts) {
            let [printed, errors] = texts.map(Option::unwrap_or_default);
            return Ok((status, printed, errors));
        }
        if now() >= deadline {
            return Err(format!("took longer than {} s", limit.as_secs()));
        }
        // The sender above is kept, so this waits even if both texts are there.
        if let Ok((index, text)) = read.recv_timeout(STEP) {
            if index == 0 && text.len() > OUTPUT_BYTES_MAX {
                return Err(format!("printed more than {} KiB", OUTPUT_BYTES_MAX / 1024));
            }
            texts[index] = Some(text);
        }
    }
}

/// Reads to the end, or one byte more than is permitted.
fn read_some(pipe: Box<dyn Read + Send>) -> Vec<u8> {
    let mut text = Vec::new();
    // A pipe that breaks ends.
    let _ = pipe.take(OUTPUT_BYTES_MAX as u64 + 1).read_to_end(&mut text);
    text
}

/// Ends the command and what it has started. One that has ended already is left alone: its id may be another's.
fn kill(child: &mut Child) {
    if matches!(child.try_wait(), Ok(None)) {
        let _ =
            rustix::process::kill_process_group(rustix::process::Pid::from_child(child), rustix::process::Signal::KILL);
        let _ = child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn run(script: &str, limit: Duration) -> Result<String, String> {
        let arguments = ["-c", script].map(|argument| Secret(argument.to_owned())).to_vec();
        let command = TokenCommand { program: "sh".into(), arguments };
        output(&command, limit).map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn output_and_errors_are_kept_apart() {
        assert_eq!(run("echo no >&2; echo yes", LIMIT).as_deref(), Ok("yes\n"));
        assert_eq!(
            run("echo canary; echo no vault >&2; echo more >&2; exit 3", LIMIT).unwrap_err(),
            "failed with exit status: 3: no vault"
        );
        assert_eq!(run("exit 4", LIMIT).unwrap_err(), "failed with exit status: 4");
    }

    #[test]
    fn a_command_that_is_missing_or_prints_too_much_is_told_apart() {
        let command = TokenCommand { program: "wasmill-no-such-command".into(), arguments: Vec::new() };
        assert!(output(&command, LIMIT).unwrap_err().starts_with("can't be started: No such file"));
        assert_eq!(run("cat /dev/zero", LIMIT).unwrap_err(), "printed more than 64 KiB");
        assert!(run("head -c 100000 /dev/zero >&2; echo yes", LIMIT).is_ok());
    }

    #[test]
    fn a_command_that_hangs_is_killed_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("id");
        let script = format!("sleep 600 & echo $! > {}; wait", file.display());
        assert_eq!(run(&script, Duration::from_secs(2)).unwrap_err(), "took longer than 2 s");
        let id = std::fs::read_to_string(file).unwrap();
        let is_alive = || {
            // A process that nobody has waited for yet is a zombie, `Z`.
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", id.trim()));
            stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
        };
        let deadline = now() + Duration::from_secs(10);
        while is_alive() && now() < deadline {
            std::thread::yield_now();
        }
        assert!(!is_alive());
    }
}
