//! The threads that feed a file into the embedded broker: one reads lines, the other sends them.
//!
//! A pipe may have no writer, or a silent one, so the reading thread may block forever. It holds nothing but the file, and no other thread
//! waits for it. The embedded broker keeps only the last 5 MiB of a partition, whether or not older records were read. So the feed stays at
//! most [`AHEAD_BYTES_MAX`] ahead of the records that have an outcome, and waits until their output is printed. A line that is not a valid
//! record ends the feed, with its line number.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::mpsc::Sender;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::cli::exit_code::Exit;
use crate::cli::rate::Rate;
use crate::dry_run::line;
use crate::dry_run::line::FeedRecord;
use crate::dry_run::line::LineFormat;
use crate::dry_run::lines::Line;
use crate::kafka::embedded::FeedError;
use crate::kafka::embedded::Feeder;
use crate::record::Header;

use super::progress::Progress;

/// The maximum number of bytes that the feed may be ahead of the pipeline.
const AHEAD_BYTES_MAX: u64 = 1 << 20;
/// The pause before checking again whether the pipeline has caught up.
const WAIT: Duration = Duration::from_millis(2);
/// The longest wait for a line before checking whether the feed should stop.
const LOOK: Duration = Duration::from_millis(100);
/// How long the embedded broker may take to accept the last records.
const FLUSH: Duration = Duration::from_secs(30);
/// The maximum number of waits per second, so that a high rate doesn't suffer from the resolution of the clock.
const TICKS_MAX: f64 = 100.0;

/// The feeding thread; dropping it stops and joins it.
pub(super) struct Feed {
    stop: Option<Sender<()>>,
    finished: Receiver<Result<u64, String>>,
    thread: Option<JoinHandle<()>>,
}

impl Feed {
    /// Starts to feed `path` through `feeder`.
    pub(super) fn start(
        feeder: Feeder,
        progress: Arc<Progress>,
        path: &Path,
        format: LineFormat,
        rate: Option<Rate>,
    ) -> Result<Feed, Exit> {
        let about =
            fs::metadata(path).map_err(|error| Exit::Invalid(format!("open the feed {}: {error}", path.display())))?;
        if about.is_dir() {
            return Err(Exit::Invalid(format!("open the feed {}: it is a folder", path.display())));
        }
        let (stop, stopped) = mpsc::channel();
        let (send, finished) = mpsc::channel();
        let lines = read(path).map_err(|error| Exit::no_thread("reads the feed", &error))?;
        let run = Run { feeder, progress, path: path.to_owned(), format, rate, stopped };
        let thread = thread::Builder::new().name("dev-feed".into()).spawn(move || {
            if let Some(result) = run.feed(&lines).transpose() {
                // An error means that the receiver is gone.
                let _ = send.send(result);
            }
        });
        let thread = thread.map_err(|error| Exit::no_thread("feeds the embedded broker", &error))?;
        Ok(Feed { stop: Some(stop), finished, thread: Some(thread) })
    }

    /// The number of records fed, once all are. It is returned only once.
    pub(super) fn finished(&self) -> Option<Result<u64, Exit>> {
        self.finished.try_recv().ok().map(|result| result.map_err(Exit::Invalid))
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The panic hook has logged a panic of that thread.
            let _ = thread.join();
        }
    }
}

/// The number of lines that may be read ahead.
const READ_AHEAD: usize = 16;

/// The lines of a file, read by a thread that ends with the file, or when the receiver is dropped.
fn read(path: &Path) -> io::Result<Receiver<Result<Line, String>>> {
    let (send, lines) = mpsc::sync_channel(READ_AHEAD);
    let path = path.to_owned();
    let read = move || {
        let opened = match line::lines(&path) {
            Ok(opened) => opened,
            // An error means that the receiver is gone.
            Err(error) => return drop(send.send(Err(error))),
        };
        for line in opened {
            let line = line.map_err(|error| format!("{}: {error}", path.display()));
            if send.send(line).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("dev-read".into()).spawn(read)?;
    Ok(lines)
}

struct Run {
    feeder: Feeder,
    progress: Arc<Progress>,
    path: PathBuf,
    format: LineFormat,
    rate: Option<Rate>,
    stopped: Receiver<()>,
}

impl Run {
    /// The number of records fed, or `None` if the feed was stopped before the end.
    fn feed(&self, lines: &Receiver<Result<Line, String>>) -> Result<Option<u64>, String> {
        let (records_a_tick, tick) = self.rate.map_or((u64::MAX, Duration::ZERO), pace);
        let mut ahead = Ahead::default();
        loop {
            let Line { number, text } = match lines.recv_timeout(LOOK) {
                Ok(line) => line?,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) if self.is_stopped(Duration::ZERO) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => continue,
            };
            let place = || format!("{}:{number}", self.path.display());
            let record = line::parse(&text, self.format).map_err(|error| format!("{}: {error}", place()))?;
            while !(ahead.has_room(self.progress.processed(), record.bytes()) && self.progress.is_printed()) {
                if self.is_stopped(WAIT) {
                    return Ok(None);
                }
            }
            if !self.send(&record).map_err(|error| format!("{}: {error}", place()))? {
                return Ok(None);
            }
            ahead.add(record.bytes());
            if ahead.fed.is_multiple_of(records_a_tick) && self.is_stopped(tick) {
                return Ok(None);
            }
        }
        if !self.feeder.flush(FLUSH) {
            return Err("feed the embedded broker: it doesn't answer".into());
        }
        Ok(Some(ahead.fed))
    }

    /// Hands a record to the broker; `false` if the feed was stopped meanwhile.
    fn send(&self, record: &FeedRecord) -> Result<bool, String> {
        let headers: Vec<Header<'_>> =
            record.headers.iter().map(|(name, value)| Header { name, value: value.as_deref() }).collect();
        loop {
            match self.feeder.send(record.key.as_deref(), record.value.as_deref(), &headers, record.timestamp) {
                Ok(()) => return Ok(true),
                Err(FeedError::Full) if self.is_stopped(WAIT) => return Ok(false),
                Err(FeedError::Full) => {}
                Err(FeedError::Refused(reason)) => return Err(reason),
            }
        }
    }

    /// Waits for at most `wait`, and returns whether the feed should stop.
    fn is_stopped(&self, wait: Duration) -> bool {
        self.stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout)
    }
}

/// How far the feed is ahead of the pipeline.
///
/// Only the number of records without an outcome is known, not which ones they are. So each counts as much as the largest record since the
/// pipeline last caught up.
#[derive(Default)]
struct Ahead {
    fed: u64,
    largest: u64,
}

impl Ahead {
    /// Whether a record of this size may follow, when `processed` records have an outcome.
    fn has_room(&mut self, processed: u64, bytes: u64) -> bool {
        let open = self.fed.saturating_sub(processed);
        if open == 0 {
            self.largest = 0;
            return true;
        }
        (open + 1).saturating_mul(self.largest.max(bytes)) <= AHEAD_BYTES_MAX
    }

    fn add(&mut self, bytes: u64) {
        self.fed += 1;
        self.largest = self.largest.max(bytes);
    }
}

/// How many records to feed between two waits, and how long to wait.
fn pace(Rate(rate): Rate) -> (u64, Duration) {
    let mut records = 1_u64;
    let mut seconds = 1.0 / rate;
    while seconds < 1.0 / TICKS_MAX {
        records *= 2;
        seconds *= 2.0;
    }
    (records, Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_feed_waits_for_the_pipeline_and_one_large_record_does_not_slow_it_for_ever() {
        let mut ahead = Ahead::default();
        let mut feed = |processed, bytes| {
            let room = ahead.has_room(processed, bytes);
            if room {
                ahead.add(bytes);
            }
            room
        };
        assert!(feed(0, 2 << 20), "with nothing open a record of any size may go");
        assert!(!feed(0, 10), "the open one fills the space");
        assert!(feed(1, 1 << 19));
        assert!(feed(1, 10));
        assert!(!feed(1, 10), "each open record counts as the largest");
        assert!(feed(3, 10), "caught up");
        for _ in 0..1000 {
            assert!(feed(3, 10));
        }
    }

    #[test]
    fn a_high_rate_is_fed_in_bursts() {
        assert_eq!(pace(Rate(10.0)), (1, Duration::from_millis(100)));
        let (records, wait) = pace(Rate(1e6));
        assert!(wait >= Duration::from_millis(10), "{wait:?}");
        assert_eq!(records as f64 / wait.as_secs_f64(), 1e6);
    }
}
