//! Lines on their way to stderr, which may be slow, stand still or be gone: nobody but the thread here waits for it.
//!
//! A line is put into a buffer with a bound, and a thread of its own writes what is there. What doesn't fit, or can't be written, is
//! dropped and counted, and a line says how many when stderr takes lines again. Invariant: the lock is never held over a write.

use std::fs::File;
use std::io;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

/// What waits to be written has at most so many bytes: a burst of thousands of lines.
const BYTES_MAX: usize = 1 << 20;
/// What the last words of a process get beyond it: they say why it ends.
const LAST_WORDS_BYTES: usize = 64 << 10;
/// The end of the process waits for the rest of the lines for so long.
const FLUSH_MAX: Duration = Duration::from_millis(500);
/// A stderr that doesn't block is asked again after this time.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// The lines of this process. They live as long as it.
static PROCESS: OnceLock<&'static Lines> = OnceLock::new();

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Lines {
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// What waits. Pure.
#[derive(Debug)]
struct Queue {
    text: Vec<u8>,
    bytes_max: usize,
    /// Whether the thread has some of it in hand.
    writing: bool,
    /// Lines that were dropped since the start, and those of them that a line has told of.
    dropped: u64,
    told: u64,
}

impl Queue {
    fn new(bytes_max: usize) -> Queue {
        Queue { text: Vec::new(), bytes_max, writing: false, dropped: 0, told: 0 }
    }

    /// Adds a line with its end, if it fits.
    fn put(&mut self, line: &[u8]) {
        if self.text.len() + line.len() > self.bytes_max {
            self.dropped += count(line);
        } else {
            self.text.extend_from_slice(line);
        }
    }

    /// Gives all of it to be written; `text` is empty, and its memory is used on.
    fn take(&mut self, text: &mut Vec<u8>) {
        self.writing = true;
        std::mem::swap(&mut self.text, text);
    }

    /// What was taken was written but for `lost` lines. How many dropped ones are to be told of now: none while stderr takes none.
    fn written(&mut self, lost: u64) -> u64 {
        self.writing = false;
        self.dropped += lost;
        if lost > 0 {
            return 0;
        }
        self.dropped - std::mem::replace(&mut self.told, self.dropped)
    }

    fn is_through(&self) -> bool {
        self.text.is_empty() && !self.writing
    }
}

/// The lines of a text, the last of which may lack its end.
fn count(text: &[u8]) -> u64 {
    text.split_inclusive(|byte| *byte == b'\n').count() as u64
}

impl Lines {
    fn new(bytes_max: usize) -> Lines {
        Lines { queue: Mutex::new(Queue::new(bytes_max)), changed: Condvar::new() }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, line: &[u8]) {
        self.queue().put(line);
        self.changed.notify_all();
    }

    /// Waits until everything was written, for a short time. Whether it was.
    fn flush(&self) -> bool {
        let waits = |queue: &mut Queue| !queue.is_through();
        let (queue, _) =
            self.changed.wait_timeout_while(self.queue(), FLUSH_MAX, waits).unwrap_or_else(PoisonError::into_inner);
        queue.is_through()
    }

    /// Writes what comes, for ever. `tell` is called with a number of lines that were dropped.
    fn write(&self, mut sink: impl Write, tell: impl Fn(u64)) {
        let mut text = Vec::new();
        loop {
            let nothing = |queue: &mut Queue| queue.text.is_empty();
            let mut queue = self.changed.wait_while(self.queue(), nothing).unwrap_or_else(PoisonError::into_inner);
            queue.take(&mut text);
            drop(queue);
            let lost = write_all(&mut sink, &text);
            text.clear();
            let dropped = self.queue().written(lost);
            if dropped > 0 {
                tell(dropped);
            }
            self.changed.notify_all();
        }
    }
}

/// Writes it all, however long that takes. How many lines could not be written, as nobody can read them.
fn write_all(sink: &mut impl Write, mut text: &[u8]) -> u64 {
    while !text.is_empty() {
        match sink.write(text) {
            Ok(0) => return count(text),
            Ok(written) => text = &text[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(ASK_AGAIN),
            Err(_) => return count(text),
        }
    }
    0
}

/// From now on lines are written by a thread of their own. `None` if it can't be had: whoever logs then writes, as before.
pub(super) fn start() -> Option<&'static Lines> {
    // A descriptor of its own: whoever writes to the standard one holds its lock for as long as that takes.
    let sink = File::from(io::stderr().as_fd().try_clone_to_owned().ok()?);
    let lines: &'static Lines = Box::leak(Box::new(Lines::new(BYTES_MAX)));
    let tell = |dropped| tracing::warn!("{dropped} log lines were dropped: stderr did not take them in time");
    let write = move || lines.write(sink, tell);
    thread::Builder::new().name("log".into()).spawn(write).ok()?;
    Some(PROCESS.get_or_init(|| lines))
}

/// The lines of this process, if it has such.
pub(super) fn of_process() -> Option<&'static Lines> {
    PROCESS.get().copied()
}

/// Lines that were dropped since the start.
pub(super) fn dropped() -> u64 {
    PROCESS.get().map_or(0, |lines| lines.queue().dropped)
}

/// The words behind this one are the last of the process: there is room for them.
pub(super) fn make_room() {
    if let Some(lines) = PROCESS.get() {
        lines.queue().bytes_max = BYTES_MAX + LAST_WORDS_BYTES;
    }
}

/// See [`Lines::flush`].
pub(super) fn flush() {
    if let Some(lines) = PROCESS.get() {
        lines.flush();
    }
}

/// Each write is a line, or some, with their ends.
impl Write for &Lines {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.put(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering;
    use std::sync::mpsc;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn what_does_not_fit_is_dropped_and_told_of_once_lines_are_taken() {
        let mut queue = Queue::new(10);
        queue.put(b"12345678\n");
        queue.put(b"2\n");
        queue.put(b"3\n4\n");
        let mut text = Vec::new();
        queue.take(&mut text);
        assert_eq!(text, b"12345678\n");
        assert!(!queue.is_through(), "it is being written");
        assert_eq!(queue.written(1), 0, "nobody reads it: not the time to say more");
        assert!(queue.is_through());
        text.clear();
        queue.put(b"5\n");
        queue.take(&mut text);
        assert_eq!(queue.written(0), 4, "three that did not fit, and one that was not read");
        text.clear();
        queue.take(&mut text);
        assert_eq!(queue.written(0), 0);
        assert_eq!(queue.dropped, 4);
    }

    #[test]
    fn a_line_never_waits_for_its_reader_and_none_is_lost_in_silence() {
        let (mut reader, writer) = io::pipe().unwrap();
        let lines: &'static Lines = Box::leak(Box::new(Lines::new(10_000)));
        let (told, tells) = mpsc::channel();
        thread::spawn(move || lines.write(writer, |dropped| told.send(dropped).unwrap_or(())));
        // Ten times what a pipe holds and the buffer takes, and nobody reads.
        const COUNT: u64 = 10_000;
        for number in 0..COUNT {
            (&mut &*lines).write_all(format!("{number:0>99}\n").as_bytes()).unwrap();
        }
        assert!(!lines.flush(), "an end waits for a short time only");
        let read = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&read);
        thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(got @ 1..) = reader.read(&mut some) {
                let ends = some[..got].iter().filter(|byte| **byte == b'\n').count();
                counted.fetch_add(ends as u64, Ordering::Relaxed);
            }
        });
        // What was dropped is told in one number or in some.
        let mut dropped = 0;
        while dropped < lines.queue().dropped {
            dropped += tells.recv_timeout(PATIENCE).expect("that lines were dropped is told");
        }
        assert!(dropped > COUNT / 2, "{dropped}");
        while !lines.flush() || read.load(Ordering::Relaxed) + dropped < COUNT {
            thread::yield_now();
        }
        assert_eq!(read.load(Ordering::Relaxed) + dropped, COUNT, "every line was read or is counted");
    }

    #[test]
    fn a_closed_end_loses_lines_and_nothing_else() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let lines: &'static Lines = Box::leak(Box::new(Lines::new(10_000)));
        thread::spawn(move || lines.write(writer, |_| unreachable!("there is nobody to tell")));
        for _ in 0..3 {
            lines.put(b"a line\n");
            while !lines.flush() {}
        }
        assert_eq!(lines.queue().dropped, 3);
    }
}
