//! Resources that a machine or a cluster lacks: disk space (F28), memory (F30), file descriptors (F31), and a deleted topic (F32).
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use crate::load::Load;
use crate::load::PARTITIONS;
use crate::load::seconds;
use crate::rows::Case;
use crate::support::clock;
use crate::support::java;

pub(crate) fn descriptors(case: &Case) {
    for limit in [10_u32, 16, 24, 64] {
        case.inject(&format!("{limit}"), &format!("ulimit -n {limit}"), || {
            let load = Load::new("fd");
            let file = load.pipeline().file();
            let log = file.with_extension("log");
            let mut child = Command::new("sh")
                .args(["-c", "ulimit -n \"$0\"; exec setpriv --pdeathsig KILL -- \"$@\"", &limit.to_string()])
                .args([env!("CARGO_BIN_EXE_wasmill"), "run"])
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(fs::File::create(&log).unwrap())
                .spawn()
                .unwrap();
            let watch = clock::Watch::start();
            let mut fresh = 0;
            let status = clock::look_for(Duration::from_secs(10), || {
                let status = child.try_wait().unwrap();
                if status.is_none() {
                    fresh = load.delivery.tally().fresh;
                }
                status
            });
            let took = watch.elapsed();
            let cpu = if status.is_none() { cpu_ticks(child.id()) } else { 0 };
            let _ = child.kill();
            let _ = child.wait();
            let log = fs::read_to_string(&log).unwrap();
            let said: String = log.lines().last().unwrap_or_default().chars().take(200).collect();
            match status {
                None => {
                    // 10 s are 1000 ticks: a process may run, but not busy-wait.
                    assert!(cpu < 800, "it spins: {cpu} of 1000 ticks; it says: {said}");
                    assert!(fresh > 0 || log.contains("open files"), "it says why it does nothing: {log}");
                    format!(
                        "runs, {fresh} records arrived in {}, {cpu} of 1000 CPU ticks; last words: {said}",
                        seconds(took)
                    )
                }
                Some(status) => {
                    assert!(log.contains("open files") || log.contains("file"), "{status}, and it says: {log}");
                    assert!(status.code().is_some_and(|code| code != 0 && code != 101), "{status}: {log}");
                    format!("{status} after {}: {said}", seconds(took))
                }
            }
        });
    }
}

/// User and system time of a process, in hundredths of a second.
fn cpu_ticks(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

pub(crate) fn topic_deleted(case: &Case) {
    case.inject("", "the output's topic is deleted under load, and made again when the log says so", || {
        let load = Load::new("gone");
        let mut process = load.start();
        let (in_flight, lag) = load.busy(&mut process);
        java::delete(&load.delivery.main);
        let watch = clock::Watch::start();
        process.wait("readyz to be 503", Duration::from_secs(60), |process| {
            process.get("/readyz").is_some_and(|(status, _)| status == 503)
        });
        let unready = watch.elapsed();
        // The client reports a missing topic only after half a minute, in case it is just being created.
        process.wait("the topic to be named", Duration::from_secs(60), |process| {
            process.log().lines().any(|line| line.contains(&load.delivery.main) && line.contains("halted"))
        });
        java::create_again(&load.delivery.main, PARTITIONS, &[]);
        let back = clock::Watch::start();
        process.wait("records to arrive in the new topic", Duration::from_secs(60), |_| {
            java::ends(&load.delivery.main).iter().sum::<i64>() > 0
        });
        let back = back.elapsed();
        process.wait("readyz to be 200 again", Duration::from_secs(60), |process| {
            process.get("/readyz").is_some_and(|(status, _)| status == 200)
        });
        format!(
            "lag {lag}, in flight {in_flight}; readyz 503 after {}, no exit; delivering {} after the topic was made again; what the old \
             topic had is gone with it",
            seconds(unready),
            seconds(back)
        )
    });
}

/// Mounts an in-memory file system of this size, or resizes one if the size begins with `remount,`.
pub(crate) fn mount_memory(at: &Path, size: &str) {
    fs::create_dir_all(at).unwrap();
    let options = match size.strip_prefix("remount,") {
        Some(size) => format!("remount,size={size}"),
        None => format!("size={size}"),
    };
    let done = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).status().unwrap();
    assert!(done.success(), "mounting {}: {done}", at.display());
}

pub(crate) fn disk_full(case: &Case) {
    case.inject("cache", "the folder for compiled components is on a disk of 64 kB", || {
        let load = Load::new("cache");
        let cache = load.pipeline().folder().join("cache");
        mount_memory(&cache, "64k");
        let mut process = load.pipeline().run_in(&[("WASMILL_CACHE", cache.to_str().unwrap())], &[]);
        load.passes(&mut process, 10_000);
        load.finish(process).to_string()
    });
    case.inject("log", "stderr is /dev/full, where nothing can be written", || {
        let load = Load::new("log");
        let mut process = load.pipeline().run_under(&["sh", "-c", "exec \"$@\" 2>/dev/full", "sh"], &[], &[]);
        load.passes(&mut process, 10_000);
        load.finish(process).to_string()
    });
}

pub(crate) fn memory_limit(case: &Case) {
    for (name, mib) in [("enough", 128), ("too-little", 12)] {
        case.inject(name, &format!("a control group of {mib} MiB"), || {
            let load = Load::new("memory");
            let control = ControlGroup::new(mib);
            let enter = ["sh", "-c", "echo $$ > \"$0\" && exec \"$@\"", control.processes.to_str().unwrap()];
            let mut process = load.pipeline().run_under(&enter, &[], &[]);
            let watch = clock::Watch::start();
            let status = clock::look_for(Duration::from_secs(15), || process.ended());
            let Some(status) = status else {
                load.passes(&mut process, 10_000);
                return format!("it runs; {}", load.finish(process));
            };
            assert!(mib < 100, "it ended with {status} where {mib} MiB are enough");
            assert_eq!(status.signal(), Some(9), "the kernel kills it: {}", process.log());
            let took = watch.elapsed();
            drop(process);
            let next = load.start();
            format!("killed by the kernel after {}; the next one: {}", seconds(took), load.finish(next))
        });
    }
}

/// A control group with a memory limit, removed when dropped.
struct ControlGroup {
    folder: PathBuf,
    /// The file that adds a process to the group when its id is written to it.
    processes: PathBuf,
}

impl ControlGroup {
    fn new(mib: u64) -> ControlGroup {
        let name = format!("wasmill-{}", std::process::id());
        let first = Path::new("/sys/fs/cgroup/memory");
        let (folder, limit) = if first.exists() {
            (first.join(name), "memory.limit_in_bytes")
        } else {
            (Path::new("/sys/fs/cgroup").join(name), "memory.max")
        };
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(limit), (mib << 20).to_string()).unwrap();
        ControlGroup { processes: folder.join("cgroup.procs"), folder }
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // Its processes have ended, but the kernel may not have noticed yet.
        let _ = clock::look_for(Duration::from_secs(1), || fs::remove_dir(&self.folder).ok());
    }
}
