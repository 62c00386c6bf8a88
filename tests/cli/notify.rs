//! What a service manager is told over its socket, by a process with one file and by one with a folder of them.

use std::io::BufRead as _;
use std::io::BufReader;
use std::os::unix::net::UnixDatagram;
use std::process::Child;
use std::process::Stdio;
use std::time::Duration;

use super::signals::children;
use super::signals::large;
use super::signals::wait;
use super::*;

const LIMIT: Duration = Duration::from_secs(60);

/// The socket of a service manager.
struct Manager(UnixDatagram);

impl Manager {
    /// The next message that isn't `WATCHDOG=1`.
    fn told(&self) -> String {
        loop {
            let news = self.next();
            if news != "WATCHDOG=1\n" {
                return news;
            }
        }
    }

    fn next(&self) -> String {
        let mut bytes = [0; 256];
        let length = self.0.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    /// What has been told by now.
    fn by_now(&self) -> Vec<String> {
        let mut told = Vec::new();
        self.0.set_nonblocking(true).unwrap();
        let mut bytes = [0; 256];
        while let Ok(length) = self.0.recv(&mut bytes) {
            told.push(String::from_utf8(bytes[..length].to_vec()).unwrap());
        }
        self.0.set_nonblocking(false).unwrap();
        told
    }
}

/// A process with a service manager, which is killed with the test.
struct Managed {
    process: Child,
    manager: Manager,
}

impl Managed {
    fn start(folder: &Path, what: &str) -> Managed {
        let socket = folder.join("notify");
        let _ = fs::remove_file(&socket);
        let manager = UnixDatagram::bind(&socket).unwrap();
        manager.set_read_timeout(Some(LIMIT)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill"));
        command.args(["run", what, "--http", "127.0.0.1:0", "--cache", folder.join("cache").to_str().unwrap()]);
        command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "200000").stderr(Stdio::null());
        Managed { process: command.spawn().unwrap(), manager: Manager(manager) }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.process.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// No broker is needed: the pipelines have been started, and wait for one.
#[test]
fn a_service_manager_is_told_of_ready_reloading_stopping_and_alive() {
    let folder = tempfile::tempdir().unwrap();
    let pipelines = folder.path().join("pipelines");
    fs::create_dir(&pipelines).unwrap();
    let file = forwarding(folder.path(), "");
    let text = fs::read_to_string(&file).unwrap().replace("p.wasm", "../p.wasm").replace(":9092", ":1");
    let one = pipelines.join("one.toml");
    fs::write(&one, &text).unwrap();
    // One that fails doesn't keep the others from being ready.
    fs::write(pipelines.join("broken.toml"), "[input\n").unwrap();
    for what in [&one, &pipelines] {
        let mut managed = Managed::start(folder.path(), what.to_str().unwrap());
        let manager = &managed.manager;
        assert_eq!(manager.told(), "READY=1\n", "{}", what.display());
        for _ in 0..2 {
            wait("the watchdog's message", LIMIT, || (manager.next() == "WATCHDOG=1\n").then_some(()));
        }
        managed.signal("HUP");
        let reloading = manager.told();
        assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
        assert_eq!(manager.told(), "READY=1\n");
        managed.signal("TERM");
        assert_eq!(manager.told(), "STOPPING=1\n");
        assert_eq!(managed.process.wait().unwrap().code(), Some(0), "{}", what.display());
        assert_eq!(managed.manager.by_now().iter().find(|news| *news != "WATCHDOG=1\n"), None);
    }
}

#[test]
fn a_process_that_compiles_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let pipelines = folder.path().join("pipelines");
    fs::create_dir(&pipelines).unwrap();
    let file = forwarding(folder.path(), "");
    fs::write(folder.path().join("large.wasm"), large()).unwrap();
    let one = pipelines.join("one.toml");
    fs::write(&one, fs::read_to_string(&file).unwrap().replace("p.wasm", "../large.wasm")).unwrap();
    for what in [&one, &pipelines] {
        let mut managed = Managed::start(folder.path(), what.to_str().unwrap());
        let id = managed.process.id();
        wait("the compiler", LIMIT, || children(id).pop());
        let told = managed.manager.by_now();
        assert!(!told.iter().any(|news| news.starts_with("READY")), "{told:?}");
        managed.signal("TERM");
        managed.signal("TERM");
        managed.process.wait().unwrap();
    }
}

/// What the log says then is for the person who reads it: the process works as without a service manager.
#[test]
fn a_socket_that_nobody_reads_is_no_reason_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let file = forwarding(folder.path(), "");
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill"));
    command.args(["run", &file, "--http", "127.0.0.1:0"]).env("NOTIFY_SOCKET", folder.path().join("nobody"));
    let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("the service manager at NOTIFY_SOCKET wasn't told Ready")));
    let status = Command::new("kill").arg(process.id().to_string()).status().unwrap();
    assert!(status.success());
    assert_eq!(process.wait().unwrap().code(), Some(0), "{:?}", lines.collect::<Vec<_>>());
}
