//! A process that is measured from outside: CPU time and memory, by what the kernel tells of it.

use std::fs;
use std::io::Write as _;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use tempfile::TempDir;

/// How long a process may take to end.
const END: Duration = Duration::from_secs(30);

/// What ends a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndsBy {
    /// SIGTERM.
    Signal,
    /// A line on stdin.
    Stdin,
}

/// A running process. It is killed when dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    ends_by: EndsBy,
    folder: TempDir,
}

impl Process {
    /// Starts a process, whose files are in `folder`. What it prints goes to a file there.
    pub(crate) fn start(mut command: Command, folder: TempDir, ends_by: EndsBy) -> Process {
        let log = fs::File::create(folder.path().join("log")).unwrap();
        command.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log);
        Process { child: command.spawn().unwrap(), ends_by, folder }
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// User and system time of all threads so far.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        cpu_seconds(&format!("/proc/{}/stat", self.child.id()))
    }

    /// The most memory that it had, in MiB.
    pub(crate) fn peak_rss_mib(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }

    /// Its output.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Lets the process finish, and waits for its end.
    pub(crate) fn stop(mut self) {
        if self.ends_by == EndsBy::Signal {
            let pid = self.child.id().to_string();
            // std can only send SIGKILL.
            assert!(Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status().unwrap().success());
        } else {
            self.child.stdin.take().unwrap().write_all(b"\n").unwrap();
        }
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < END, "a contestant does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(status.success(), "a contestant ended with {status}:\n{}", self.log());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and system time of the process or thread of a file `stat`.
pub(crate) fn cpu_seconds(stat: &str) -> f64 {
    let stat = fs::read_to_string(stat).unwrap();
    // Field 3 is the first one after the name, which may contain anything.
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks = |field: usize| fields[field - 3].parse::<f64>().unwrap();
    // 100 ticks a second: USER_HZ of Linux on x86_64 and aarch64.
    (ticks(14) + ticks(15)) / 100.0
}
