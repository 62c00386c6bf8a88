//! The container image without a container engine: what `deploy/image.sh` makes, in a root of its own with the program's shared libraries,
//! as the first process of a PID namespace, as the image's user, with a read-only root.
//!
//! The Dockerfile's base image is not part of it: the libraries are this machine's.

use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::stage;
use crate::tools;

/// The image's user, of `deploy/Dockerfile`.
const USER: &str = "65532";
/// How long the pipeline may take to write the example's records, and to end after a signal.
const LIMIT: Duration = Duration::from_secs(60);
const FILE: &str = "/etc/wasmill/pipelines/orders.toml";
/// A file for the pipeline to read, in the root.
const FEED: &str = "/etc/wasmill/orders.ndjson";

/// Builds the program, and tries the image with it.
///
/// # Errors
/// What doesn't work in the image.
pub(crate) fn run() -> Result<(), String> {
    let root = stage::root();
    // As the tests are built, so that nothing is compiled twice.
    stage::succeed(stage::cargo(root, "build").args(["--bin", "wasmill", "--features", "failpoints"]))?;
    attempt(root)
}

/// Tries the image with the program that is built.
///
/// # Errors
/// What doesn't work in the image.
pub(crate) fn attempt(root: &Path) -> Result<(), String> {
    if !tools::is_root() {
        return Err("the image's root needs folders of another user, and mounts: run it as root".to_owned());
    }
    let folder = root.join("target/image");
    let image = folder.join("root");
    fill(root, &image).map_err(|error| format!("{}: {error}", image.display()))?;
    if !permits_mounts() {
        let version = ended(chrooted(&image, &["--version"]))?;
        expect(&version, 0, "wasmill ")?;
        stage::say("the image: this machine permits no mounts, so only `--version` was tried, by chroot alone");
        return Ok(());
    }
    let version = ended(inside(&image, &["--version"]))?;
    expect(&version, 0, "wasmill ")?;
    let checked = ended(inside(&image, &["check", "--offline", FILE]))?;
    expect(&checked, 0, "ok (1 step, 1 output)")?;
    let kept = fs::read_dir(folder.join("cache/compiled")).map(Iterator::count).unwrap_or_default();
    if kept != 1 {
        return Err(format!("the image's user kept {kept} compiled plugins on its volume, not 1"));
    }
    let mut dev = inside(&image, &["dev", FILE, "--feed", FEED, "--rate", "50/s", "--http", "127.0.0.1:0"]);
    let dev = dev.stdout(Stdio::piped()).spawn().map_err(|error| format!("running unshare: {error}"))?;
    let mut dev = Killed(dev);
    let ran = ends_by_a_signal(&mut dev);
    let status = ran?;
    stage::say(&format!("the image: {}; `check` and `dev` work; TERM ended it with {status}", words(&version.stdout)));
    Ok(())
}

/// A process that is killed when it isn't needed any more.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes the root: the layer of `image.sh`, the program's libraries and a pipeline.
fn fill(root: &Path, image: &Path) -> Result<(), String> {
    if image.exists() {
        fs::remove_dir_all(image).map_err(|error| error.to_string())?;
    }
    for folder in ["proc", "dev", "tmp"] {
        fs::create_dir_all(image.join(folder)).map_err(|error| error.to_string())?;
    }
    let program = root.join("target/debug/wasmill");
    stage::succeed(Command::new(root.join("deploy/image.sh")).arg(&program).arg(image))?;
    // A volume for the cache, which takes its owner from the layer. The second command finds what the first one compiled.
    let volume = image.with_file_name("cache");
    if volume.exists() {
        fs::remove_dir_all(&volume).map_err(|error| error.to_string())?;
    }
    let layer = image.join("var/cache/wasmill");
    stage::succeed(Command::new("cp").args(["--archive", "--no-target-directory"]).arg(layer).arg(&volume))?;
    let libraries = Command::new("ldd").arg(&program).output().map_err(|error| format!("running ldd: {error}"))?;
    for line in String::from_utf8_lossy(&libraries.stdout).lines() {
        let Some(path) = line.split_whitespace().find(|word| word.starts_with('/')) else { continue };
        copy(Path::new(path), &image.join(path.trim_start_matches('/')))?;
    }
    let text =
        fs::read_to_string(root.join("deploy/compose/pipelines/orders.toml")).map_err(|error| error.to_string())?;
    // The program of the tests has no plugins inside.
    let text = text.replace("use = \"std:mask\"", "wasm = \"/etc/wasmill/mask.wasm\"");
    fs::write(image.join(FILE.trim_start_matches('/')), text).map_err(|error| error.to_string())?;
    copy(&root.join("tests/plugins/kept/mask-1.0.0.wasm"), &image.join("etc/wasmill/mask.wasm"))?;
    let feed = fs::read_to_string(root.join("examples/orders/input.ndjson")).map_err(|error| error.to_string())?;
    // `dev` ends with its feed, which therefore lasts longer than the pipeline is looked at.
    fs::write(image.join(FEED.trim_start_matches('/')), feed.repeat(1_000)).map_err(|error| error.to_string())
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let parent = to.parent().unwrap_or(to);
    fs::create_dir_all(parent)
        .and_then(|()| fs::copy(from, to))
        .map(drop)
        .map_err(|error| format!("copy {} to {}: {error}", from.display(), to.display()))
}

/// The program in the root, as a container engine would run it: read-only, with a volume for the cache, without capabilities, as PID 1.
fn inside(image: &Path, arguments: &[&str]) -> Command {
    let script = "set -e; root=$1; user=$2; shift 2
        mount --bind \"$root\" \"$root\"
        mount -o remount,bind,ro \"$root\"
        mount -t proc proc \"$root/proc\"
        mount --bind /dev \"$root/dev\"
        mount --bind \"$root/../cache\" \"$root/var/cache/wasmill\"
        exec chroot --userspec=\"$user:$user\" \"$root\" /usr/local/bin/wasmill \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh"]).arg(image).arg(USER);
    command.args(arguments).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("WASMILL_CACHE", "/var/cache/wasmill/compiled").stdin(Stdio::null());
    command
}

/// Whether this machine lets root have mounts and processes of its own, which a container without privileges doesn't.
fn permits_mounts() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "true"]).stdin(Stdio::null());
    command.output().is_ok_and(|output| output.status.success())
}

/// The program in the root, as the image's user.
fn chrooted(image: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("chroot");
    command.arg(format!("--userspec={USER}:{USER}")).arg(image).arg("/usr/local/bin/wasmill").args(arguments);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
    command
}

fn ended(mut command: Command) -> Result<Output, String> {
    command.output().map_err(|error| format!("running the image: {error}"))
}

fn expect(output: &Output, code: i32, text: &str) -> Result<(), String> {
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(code) && said.contains(text) {
        Ok(())
    } else {
        Err(format!("in the image, {code} and `{text}` were expected: {}\n{said}", output.status))
    }
}

/// Waits until the pipeline has written a record, looks at the process from outside, and ends it.
fn ends_by_a_signal(dev: &mut Killed) -> Result<String, String> {
    let output = dev.0.stdout.take().ok_or("the pipeline's output can't be read")?;
    let mut lines = BufReader::new(output).lines();
    if !lines.by_ref().map_while(Result::ok).any(|line| line.contains("\"topic\":\"orders.clean\"")) {
        return Err("the pipeline in the image ended before it wrote to orders.clean".to_owned());
    }
    let outer = dev.0.id();
    let children =
        fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).map_err(|error| error.to_string())?;
    let first = children.split_whitespace().next().ok_or("the pipeline in the image has ended")?;
    let status = fs::read_to_string(format!("/proc/{first}/status")).map_err(|error| error.to_string())?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    if field("NSpid:").split_whitespace().next_back() != Some("1") || !field("Uid:").starts_with(USER) {
        return Err(format!("the process in the image isn't PID 1 of user {USER}:\n{status}"));
    }
    if !field("CapEff:").trim_start_matches('0').is_empty() {
        return Err(format!("the process in the image has capabilities: {}", field("CapEff:")));
    }
    let mounts = fs::read_to_string(format!("/proc/{first}/mountinfo")).map_err(|error| error.to_string())?;
    let is_root = |line: &&str| line.split_whitespace().nth(4) == Some("/");
    let options = mounts.lines().find(is_root).and_then(|line| line.split_whitespace().nth(5)).unwrap_or_default();
    if !options.split(',').any(|option| option == "ro") {
        return Err(format!("the image's root can be written: {options}"));
    }
    stage::succeed(Command::new("kill").args(["-TERM", first]))?;
    // Its output must not fill the pipe meanwhile.
    thread::spawn(move || lines.for_each(drop));
    let until = now() + LIMIT;
    loop {
        match dev.0.try_wait().map_err(|error| error.to_string())? {
            Some(status) if status.success() => return Ok(status.to_string()),
            Some(status) => return Err(format!("after TERM, the pipeline in the image ended with {status}")),
            None if now() > until => return Err(format!("after TERM, the pipeline in the image ran for {LIMIT:?}")),
            None => thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn words(text: &[u8]) -> String {
    String::from_utf8_lossy(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[expect(clippy::disallowed_methods, reason = "a deadline by the clock on the wall")]
fn now() -> Instant {
    Instant::now()
}
