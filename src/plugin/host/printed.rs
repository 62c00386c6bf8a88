//! What a guest prints: lines of stdout and stderr go to the plugin's log, as `info` and `error`.
//!
//! A line ends with its newline, or with the call. Of a longer line than the log takes, the beginning is kept. The log bounds the
//! lines of a second, and a call of the host takes at most [`PRINTED_BYTES_MAX`], so that printing can't outlast a deadline.

use crate::plugin::contract::Level;
use crate::plugin::host::Host;
use crate::plugin::host::log::LINE_BYTES_MAX;

/// The most bytes that one call of the host takes.
pub(super) const PRINTED_BYTES_MAX: usize = 64 << 10;

/// Where a guest prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// The stream of a file descriptor, if it has one.
    pub(super) fn of(descriptor: u32) -> Option<Stream> {
        match descriptor {
            1 => Some(Stream::Stdout),
            2 => Some(Stream::Stderr),
            _ => None,
        }
    }

    /// Its file descriptor.
    pub(super) fn descriptor(self) -> u32 {
        match self {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        }
    }
}

/// The beginnings of lines that haven't ended.
#[derive(Debug, Default)]
pub(super) struct Printed {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Printed {
    fn line(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

impl Host {
    /// Takes what a guest prints: all of it, or the first [`PRINTED_BYTES_MAX`] bytes.
    pub(super) fn print(&mut self, stream: Stream, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(PRINTED_BYTES_MAX)];
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let line = self.printed.line(stream);
            // One byte more shows the log that the line is too long.
            let room = (LINE_BYTES_MAX + 1).saturating_sub(line.len());
            line.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                self.end_line(stream);
            }
        }
    }

    /// The call has ended, and with it its lines.
    pub(in crate::plugin) fn end_lines(&mut self) {
        self.take_said();
        self.end_line(Stream::Stdout);
        self.end_line(Stream::Stderr);
    }

    fn end_line(&mut self, stream: Stream) {
        let line = self.printed.line(stream);
        if line.is_empty() {
            return;
        }
        let line = std::mem::take(line);
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        match stream {
            _ if text.is_empty() => {}
            Stream::Stdout => self.write_printed(Level::Info, text),
            Stream::Stderr => self.write_printed(Level::Error, text),
        }
    }
}
