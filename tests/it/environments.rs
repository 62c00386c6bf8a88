//! The environments of containers and services: tests what `docs/environments.md` says about each.
//!
//! The tests need Linux, root, `unshare`, `setpriv`, `prlimit`, `perl` and a C compiler, as CI has them; a missing one fails a test.
//! Blocked log readers are tested in `logging.rs`, and memory limits and full disks by the fault matrix.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::component;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::java::Raw;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(60);
const RECORDS: u64 = 2000;
const DAY: i64 = 86_400;

/// A pipeline with input.
struct World {
    input: String,
    output: String,
    group: String,
    pipeline: Pipeline,
    fed: Vec<i64>,
}

impl World {
    fn new(name: &str) -> World {
        let input = java::create(&format!("{name}-in"), 2, &[]);
        let output = java::create(&format!("{name}-out"), 2, &[]);
        let group = unique(name);
        let fed = Feed::fill(&input, RECORDS).stop();
        let pipeline = Pipeline::new(&input, &output, &group, "");
        pipeline.install(&component::forward());
        World { input, output, group, pipeline, fed }
    }

    /// Starts a process through a shell, which runs it as `"$@"`; checks that records flow and that SIGTERM ends it. Returns its log.
    fn flows(&self, shell: &str, variables: &[(&str, &str)]) -> String {
        let mut process = self.pipeline.run_under(&["sh", "-c", shell, "sh"], variables, &[]);
        self.arrives(&mut process);
        process.terminate();
        assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
        process.log()
    }

    fn arrives(&self, process: &mut Process) {
        process.wait("all to be committed", LIMIT, |_| java::committed(&self.group, &self.input) == self.fed);
        let fed: Vec<usize> = self.fed.iter().map(|&count| usize::try_from(count).unwrap()).collect();
        assert_eq!(java::records(&self.output), fed);
    }

    /// Starts a process through a shell, with an empty cache; it must fail to start and exit with its own code. Returns its log.
    fn fails(&self, shell: &str) -> String {
        let cache = self.pipeline.folder().join("no-cache");
        let variables = [("WASMILL_CACHE", cache.to_str().unwrap())];
        let mut process = self.pipeline.run_under(&["sh", "-c", shell, "sh"], &variables, &[]);
        let code = process.exit(LIMIT);
        assert!(code.is_some_and(|code| [1, 70, 75, 78].contains(&code)), "{code:?}: {}", process.log());
        process.log()
    }
}

#[test]
fn a_root_that_is_read_only_needs_neither_a_home_nor_a_cache() {
    let world = World::new("read-only");
    world.flows(
        "unset HOME XDG_CACHE_HOME WASMILL_CACHE; exec unshare --mount sh -c 'mount -o remount,bind,ro / && exec \"$@\"' sh \"$@\"",
        &[],
    );
}

/// Like an emptyDir of Kubernetes: it belongs to root, and every user may write to it.
#[test]
fn a_cache_on_a_volume_of_root_serves_another_user() {
    let world = World::new("volume");
    let folder = world.pipeline.folder();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(folder.join("cache")).unwrap();
    File::create(folder.join("wasmill")).unwrap();
    // The user may not have access to the build folder.
    let shell = format!(
        "cd {} && exec unshare --mount sh -c 'mount -t tmpfs -o mode=0777 tmpfs cache && mount --bind \"$1\" wasmill && shift && \
         exec setpriv --reuid 65534 --regid 65534 --clear-groups -- ./wasmill \"$@\"' sh \"$@\"",
        folder.display()
    );
    let cache = folder.join("cache");
    world.flows(&shell, &[("WASMILL_CACHE", cache.to_str().unwrap())]);
}

#[test]
fn the_first_process_of_a_container_ends_at_sigterm_whatever_the_monotonic_clock_says() {
    let world = World::new("first");
    let wrapper = [
        "unshare",
        "--pid",
        "--mount-proc",
        "--time",
        "--monotonic",
        "100000000",
        "--boottime",
        "100000000",
        "--fork",
        "--kill-child",
    ];
    let mut process = world.pipeline.run_under(&wrapper, &[], &[]);
    world.arrives(&mut process);
    let parent = process.id();
    let child = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    assert!(Command::new("sh").args(["-c", &format!("kill -TERM {child}")]).status().unwrap().success());
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
}

#[test]
fn records_flow_with_a_closed_or_blocked_stderr() {
    for (name, redirection) in [("closed", "2>&-"), ("full", "2>/dev/full")] {
        World::new(name).flows(&format!("exec \"$@\" {redirection}"), &[]);
    }
}

#[test]
fn few_descriptors_are_enough_and_too_few_are_named() {
    World::new("files").flows("ulimit -n 64; exec \"$@\"", &[]);
    let log = World::new("no-files").fails("ulimit -n 10; exec \"$@\"");
    assert!(log.contains("open files"), "{log}");
}

#[test]
fn limits_on_executable_memory_or_address_space_are_named() {
    let forbidden = "exec perl -e 'syscall(157, 65, 1, 0, 0, 0) == 0 or die; exec @ARGV' -- \"$@\"";
    let log = World::new("executable").fails(forbidden);
    assert!(log.contains("MemoryDenyWriteExecute") && !log.contains("build it again"), "{log}");
    let log = World::new("addresses").fails("ulimit -v 4000000; exec \"$@\"");
    assert!(log.contains("ulimit -v"), "{log}");
}

/// Different threads fail to start: the compiler's, one next to it, or one of wasmill's own.
#[test]
fn too_few_threads_are_named() {
    for threads in [4, 8, 12] {
        too_few(threads);
    }
}

fn too_few(threads: u32) {
    let world = World::new("threads");
    let folder = world.pipeline.folder();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    File::create(folder.join("wasmill")).unwrap();
    // The limit applies per user, and not to root.
    let shell = format!(
        "cd {} && exec unshare --mount sh -c 'mount --bind \"$1\" wasmill && shift && \
         exec setpriv --reuid 65533 --regid 65533 --clear-groups -- prlimit --nproc={threads} -- ./wasmill \"$@\"' sh \"$@\"",
        folder.display()
    );
    let log = world.fails(&shell);
    assert!(log.contains("thread") && !log.contains("panicked") && !log.contains("itself failed"), "{threads}: {log}");
}

/// Without /proc the path of wasmill's own program is unknown, so the compiler can't be started. Cached components need no compiler.
#[test]
fn without_proc_a_component_is_not_compiled() {
    let shell = "exec unshare --mount sh -c 'mount -t tmpfs tmpfs /proc && exec \"$@\"' sh \"$@\"";
    let world = World::new("no-proc");
    let log = world.fails(shell);
    assert!(log.contains("/proc/self/exe"), "{log}");
    world.flows("exec \"$@\"", &[]);
}

#[test]
fn the_clock_jumps_by_days_and_records_flow_on() {
    let world = World::new("clock");
    let folder = world.pipeline.folder();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/environments/clock.c");
    let library = folder.join("clock.so");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).status().unwrap();
    assert!(built.success(), "{built}");
    let offset = folder.join("offset");
    fs::write(&offset, 0_i64.to_ne_bytes()).unwrap();
    let offset = File::options().write(true).open(offset).unwrap();
    let path = folder.join("offset");
    let variables = [("LD_PRELOAD", library.to_str().unwrap()), ("WALL_CLOCK", path.to_str().unwrap())];
    let mut process = world.pipeline.run_in(&variables, &[]);
    world.arrives(&mut process);
    let mut all = world.fed.clone();
    for days in [3, -400, 0] {
        offset.write_all_at(&(days * DAY).to_ne_bytes(), 0).unwrap();
        assert_eq!(process.get("/livez").map(|(status, _)| status), Some(200), "after a jump to {days} days");
        let record = Raw { timestamp: 1_700_000_000_000, value: Some(b"v".to_vec()), ..Raw::default() };
        java::produce(&world.input, 0, &[record]);
        all[0] += 1;
        process.wait("the record behind a jump to be committed", LIMIT, |_| {
            java::committed(&world.group, &world.input) == all
        });
        process.ready();
    }
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
    let log = process.log();
    let all = usize::try_from(all.iter().sum::<i64>()).unwrap();
    assert_eq!(java::records(&world.output).iter().sum::<usize>(), all, "{log}");
}
