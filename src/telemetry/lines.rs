//! Log lines on their way to stderr. stderr may be slow, blocked or closed: only the thread in this file waits for it.
//!
//! A line goes into a bounded buffer, and a dedicated thread writes the buffer. Lines that don't fit or can't be written are dropped and
//! counted. The thread logs their number when stderr takes lines again, or at the end of the process. It also calls the sources of
//! suppressed lines regularly, see `kept_back.rs`. Invariants: the lock is never held during a write, and the thread's own lines have room
//! however many lines wait.

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
use std::thread::ThreadId;
use std::time::Duration;

use super::kept_back;

/// The maximum size of the buffer: it holds a burst of thousands of lines.
const BYTES_MAX: usize = 1 << 20;
/// Additional room for the last lines of a process, which say why it ends.
const LAST_WORDS_BYTES: usize = 64 << 10;
/// How long the end of the process waits for the remaining lines.
const FLUSH_MAX: Duration = Duration::from_millis(500);
/// How long to wait before trying a non-blocking stderr again.
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// How often the sources of suppressed lines are called.
const COUNT_OUT_EVERY: Duration = Duration::from_secs(1);

/// The buffer of this process, which is never freed.
static PROCESS: OnceLock<&'static Lines> = OnceLock::new();

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Lines {
    queue: Mutex<Queue>,
    changed: Condvar,
    /// The thread that writes the lines.
    writer: OnceLock<ThreadId>,
}

/// The buffered lines. Pure.
#[derive(Debug)]
struct Queue {
    text: Vec<u8>,
    /// The thread's own lines, which it writes at once.
    own: Vec<u8>,
    bytes_max: usize,
    /// Whether the thread is writing a part of it.
    writing: bool,
    /// The number of dropped lines since the start, and how many of them were reported.
    dropped: u64,
    told: u64,
    /// Whether the dropped lines should be reported now: not while stderr takes nothing.
    tells: bool,
}

impl Queue {
    fn new(bytes_max: usize) -> Queue {
        Queue { text: Vec::new(), own: Vec::new(), bytes_max, writing: false, dropped: 0, told: 0, tells: false }
    }

    /// Appends a line, including its newline, if it fits.
    fn put(&mut self, line: &[u8]) {
        if self.text.len() + line.len() > self.bytes_max {
            self.dropped += count(line);
            self.tells = true;
        } else {
            self.text.extend_from_slice(line);
        }
    }

    /// Hands the buffer to the writer. `text` is empty, and its allocation is reused.
    fn take(&mut self, text: &mut Vec<u8>) {
        self.writing = true;
        std::mem::swap(&mut self.text, text);
    }

    /// Records that the taken text was written except for `lost` lines. Returns how many dropped lines to report now: 0 while stderr takes
    /// none.
    fn written(&mut self, lost: u64) -> u64 {
        self.dropped += lost;
        self.tells = lost == 0;
        if self.tells { self.dropped - self.told } else { 0 }
    }

    /// Records that `dropped` lines were reported, or that the report could not be written.
    fn told(&mut self, dropped: u64, taken: bool) {
        if taken {
            self.told += dropped;
        }
        self.tells = taken && self.told < self.dropped;
    }

    /// The process ends: dropped lines are reported now or never.
    fn end(&mut self) {
        self.tells = self.told < self.dropped;
    }

    fn is_through(&self) -> bool {
        !self.has_work() && !self.writing
    }

    fn has_work(&self) -> bool {
        !self.text.is_empty() || self.tells && self.told < self.dropped
    }
}

/// The number of lines of a text; the last one may lack its newline.
fn count(text: &[u8]) -> u64 {
    text.split_inclusive(|byte| *byte == b'\n').count() as u64
}

impl Lines {
    fn new(bytes_max: usize) -> Lines {
        Lines { queue: Mutex::new(Queue::new(bytes_max)), changed: Condvar::new(), writer: OnceLock::new() }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, line: &[u8]) {
        let is_own = self.writer.get().is_some_and(|writer| *writer == thread::current().id());
        let mut queue = self.queue();
        if is_own {
            queue.own.extend_from_slice(line);
        } else {
            queue.put(line);
        }
        drop(queue);
        self.changed.notify_all();
    }

    /// Waits a short time until everything is written and dropped lines are reported. Returns whether it was.
    fn flush(&self) -> bool {
        let mut queue = self.queue();
        queue.end();
        self.changed.notify_all();
        let waits = |queue: &mut Queue| !queue.is_through();
        let (queue, _) =
            self.changed.wait_timeout_while(queue, FLUSH_MAX, waits).unwrap_or_else(PoisonError::into_inner);
        queue.is_through()
    }

    /// Writes lines as they come, forever. `tell` is called with a number of dropped lines, and `count_out` regularly; what they log is
    /// written at once.
    fn write(&self, mut sink: impl Write, tell: impl Fn(u64), count_out: impl Fn()) {
        // Only this function sets it.
        let _ = self.writer.set(thread::current().id());
        let mut text = Vec::new();
        loop {
            let idle = |queue: &mut Queue| !queue.has_work();
            let waited = self.changed.wait_timeout_while(self.queue(), COUNT_OUT_EVERY, idle);
            let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
            queue.take(&mut text);
            drop(queue);
            let lost = write_all(&mut sink, &text);
            text.clear();
            let dropped = self.queue().written(lost);
            if dropped > 0 {
                tell(dropped);
                let lost = self.write_own(&mut sink);
                self.queue().told(dropped, lost == 0);
            }
            count_out();
            let lost = self.write_own(&mut sink);
            let mut queue = self.queue();
            queue.dropped += lost;
            queue.writing = false;
            drop(queue);
            self.changed.notify_all();
        }
    }

    /// Writes this thread's own lines. Returns how many could not be written.
    fn write_own(&self, sink: &mut impl Write) -> u64 {
        let own = std::mem::take(&mut self.queue().own);
        write_all(sink, &own)
    }
}

/// Writes everything, however long that takes. Returns how many lines could not be written because stderr is closed or fails.
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

/// Starts the thread that writes log lines. `None` if it can't be started: each thread then writes to stderr itself.
pub(super) fn start() -> Option<&'static Lines> {
    // A separate descriptor: `io::stderr()` is locked during each write.
    let sink = File::from(io::stderr().as_fd().try_clone_to_owned().ok()?);
    let lines: &'static Lines = Box::leak(Box::new(Lines::new(BYTES_MAX)));
    let tell = |dropped| tracing::warn!("{dropped} log lines were dropped: stderr did not take them in time");
    let write = move || lines.write(sink, tell, || kept_back::count_out(false));
    thread::Builder::new().name("log".into()).spawn(write).ok()?;
    Some(PROCESS.get_or_init(|| lines))
}

/// The buffer of this process, if it has one.
pub(super) fn of_process() -> Option<&'static Lines> {
    PROCESS.get().copied()
}

/// The number of lines that were dropped since the start.
pub(super) fn dropped() -> u64 {
    PROCESS.get().map_or(0, |lines| lines.queue().dropped)
}

/// Reserves room for the last lines of the process.
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

/// Each write is one or more whole lines.
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
    fn lines_that_do_not_fit_are_dropped_and_reported_once_lines_are_written() {
        let mut queue = Queue::new(10);
        queue.put(b"12345678\n");
        queue.put(b"2\n");
        queue.put(b"3\n4\n");
        let mut text = Vec::new();
        queue.take(&mut text);
        assert_eq!(text, b"12345678\n");
        assert!(!queue.is_through(), "it is being written");
        assert_eq!(queue.written(1), 0, "nobody reads it: not the time to say more");
        queue.writing = false;
        assert!(queue.is_through());
        text.clear();
        queue.put(b"5\n");
        queue.take(&mut text);
        assert_eq!(queue.written(0), 4, "three that did not fit, and one that was not read");
        queue.told(4, false);
        assert_eq!(queue.written(0), 4, "that was not read either");
        queue.told(4, true);
        text.clear();
        queue.take(&mut text);
        assert_eq!(queue.written(0), 0);
        assert_eq!(queue.dropped, 4);
    }

    /// A sink whose contents can be read here, and that can be made to block or to fail.
    #[derive(Clone, Default)]
    struct Sink(Arc<(Mutex<State>, Condvar)>);

    #[derive(Default)]
    struct State {
        taken: Vec<u8>,
        stands: bool,
        waits: bool,
        fails: bool,
    }

    impl Sink {
        fn set(&self, change: impl Fn(&mut State)) {
            change(&mut self.0.0.lock().unwrap());
            self.0.1.notify_all();
        }

        fn taken(&self) -> String {
            String::from_utf8(self.0.0.lock().unwrap().taken.clone()).unwrap()
        }

        fn await_writer(&self) {
            let state = self.0.0.lock().unwrap();
            assert!(self.0.1.wait_timeout_while(state, PATIENCE, |state| !state.waits).unwrap().0.waits);
        }
    }

    impl Write for Sink {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let mut state = self.0.0.lock().unwrap();
            state.waits = true;
            self.0.1.notify_all();
            let mut state = self.0.1.wait_while(state, |state| state.stands).unwrap();
            state.waits = false;
            if state.fails {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            state.taken.extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A running buffer that reports dropped lines in itself, as that of a process does.
    fn started(bytes_max: usize, sink: &Sink) -> &'static Lines {
        let lines: &'static Lines = Box::leak(Box::new(Lines::new(bytes_max)));
        let sink = sink.clone();
        let tell = move |dropped| lines.put(format!("{dropped} dropped\n").as_bytes());
        thread::spawn(move || lines.write(sink, tell, || ()));
        lines
    }

    #[test]
    fn dropped_lines_are_reported_although_the_buffer_is_full() {
        let sink = Sink::default();
        sink.set(|state| state.stands = true);
        let lines = started(8, &sink);
        lines.put(b"first..\n");
        sink.await_writer();
        for line in [b"second.\n", b"dropped\n", b"dropped\n"] {
            lines.put(line);
        }
        sink.set(|state| state.stands = false);
        assert!(lines.flush());
        assert_eq!(sink.taken(), "first..\n2 dropped\nsecond.\n");
    }

    #[test]
    fn dropped_lines_are_reported_at_the_end_without_further_lines() {
        let sink = Sink::default();
        let lines = started(8, &sink);
        lines.put(b"longer than all that waits\n");
        assert!(lines.flush());
        assert_eq!(sink.taken(), "1 dropped\n");
        // As on a disk that was full and is not any more.
        sink.set(|state| state.fails = true);
        lines.put(b"lost\n");
        assert!(lines.flush(), "who can't write has nothing left to do");
        sink.set(|state| state.fails = false);
        assert!(lines.flush());
        assert_eq!(sink.taken(), "1 dropped\n1 dropped\n");
    }

    #[test]
    fn logging_never_blocks_and_every_dropped_line_is_counted() {
        let (mut reader, writer) = io::pipe().unwrap();
        let lines: &'static Lines = Box::leak(Box::new(Lines::new(10_000)));
        let (told, tells) = mpsc::channel();
        thread::spawn(move || lines.write(writer, |dropped| told.send(dropped).unwrap_or(()), || ()));
        // Ten times what a pipe and the buffer hold, without a reader. At first no more than the buffer holds at a time, so that the pipe
        // is full whenever the writer runs.
        const COUNT: u64 = 10_000;
        let put = |number: u64| (&mut &*lines).write_all(format!("{number:0>99}\n").as_bytes()).unwrap();
        let mut next = 0;
        while next < COUNT / 2 && lines.flush() {
            (next..next + 50).for_each(put);
            next += 50;
        }
        (next..COUNT).for_each(put);
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
        // The drops are reported in one number or in several.
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
        thread::spawn(move || lines.write(writer, |_| lines.put(b"some were dropped\n"), || ()));
        for _ in 0..3 {
            lines.put(b"a line\n");
            while !lines.flush() {}
        }
        assert_eq!(lines.queue().dropped, 3);
    }
}
