//! Splits a text into the lines that hold records, as editors and other systems write them.
//!
//! A line ends with a line feed, with or without a carriage return before it; the last one may end with the text. Blank lines are
//! not records, and a byte order mark before the first line isn't part of it. The contents of a line don't matter here. Invariant: the
//! number of a line is the one that an editor shows.

use std::io::BufRead;

/// The longest line in bytes.
const BYTES_MAX: usize = 64 << 20;

/// A line of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Counted from 1.
    pub number: u64,
    /// Its contents, without the line end.
    pub text: Vec<u8>,
}

/// The lines that aren't blank. An error is the last item; its message is for people.
pub struct Lines<R> {
    input: R,
    number: u64,
    failed: bool,
}

impl<R: BufRead> Lines<R> {
    /// The lines of this text.
    pub fn of(input: R) -> Lines<R> {
        Lines { input, number: 0, failed: false }
    }

    /// The next line with its line end; `None` after the last.
    fn read(&mut self) -> Result<Option<Vec<u8>>, String> {
        let number = self.number + 1;
        let mut line = Vec::new();
        let most = BYTES_MAX as u64 + 2;
        let read = std::io::Read::take(&mut self.input, most).read_until(b'\n', &mut line);
        if read.map_err(|error| format!("line {number}: cannot be read: {error}"))? == 0 {
            return Ok(None);
        }
        self.number = number;
        Ok(Some(line))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Line, String>;

    fn next(&mut self) -> Option<Result<Line, String>> {
        while !self.failed {
            let line = match self.read() {
                Ok(line) => line?,
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            };
            let mut text = &line[..];
            if self.number == 1 {
                text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
            }
            text = text.strip_suffix(b"\n").unwrap_or(text);
            text = text.strip_suffix(b"\r").unwrap_or(text);
            if text.len() > BYTES_MAX {
                self.failed = true;
                return Some(Err(format!("line {} is longer than 64 MiB", self.number)));
            }
            if !text.trim_ascii().is_empty() {
                let text = if text.len() == line.len() { line } else { text.to_vec() };
                return Some(Ok(Line { number: self.number, text }));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::io::BufReader;
    use std::io::Read;

    use super::*;

    fn lines(text: &[u8]) -> Vec<(u64, Vec<u8>)> {
        Lines::of(text).map(|line| line.map(|line| (line.number, line.text)).unwrap()).collect()
    }

    #[test]
    fn blank_lines_a_byte_order_mark_and_line_ends_of_any_system_are_no_part_of_a_record() {
        let expected = vec![(1, b"a".to_vec()), (4, b" b\xff".to_vec())];
        assert_eq!(lines(b"a\n\n \t\n b\xff\n"), expected);
        assert_eq!(lines(b"\xef\xbb\xbfa\r\n\r\n\r\n b\xff"), expected);
        assert!(lines(b"").is_empty() && lines(b"\n\r\n").is_empty());
    }

    #[test]
    fn nothing_else_is_taken_from_a_line() {
        assert_eq!(lines(b"a\rb\n\xef\xbb\xbfc\r\r\n"), [(1, b"a\rb".to_vec()), (2, b"\xef\xbb\xbfc\r".to_vec()),]);
    }

    #[test]
    fn a_line_without_an_end_is_an_error_and_the_last_item() {
        let mut lines = Lines::of(BufReader::new(io::repeat(b'x').take(u64::MAX)));
        assert_eq!(lines.next(), Some(Err("line 1 is longer than 64 MiB".into())));
        assert_eq!(lines.next(), None);
    }
}
