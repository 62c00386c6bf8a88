//! UNSAFE. Error codes and librdkafka's error objects.
//!
//! JUSTIFICATION: librdkafka returns an error as a number, whose name is a C string, or as an object that the caller
//! must destroy.
//!
//! `classify.rs` decides what a code means for a record or for the pipeline. Invariant: any number is a valid [`Code`].

#![expect(unsafe_code, reason = "librdkafka's own calls; see JUSTIFICATION")]

use std::ffi::c_int;
use std::fmt;

use rdkafka_sys as rd;

use super::codes;
use super::text::text;

/// An error code of Kafka (above 0) or of librdkafka (below 0). A broker may send any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Code(pub(crate) i32);

impl Code {
    pub(crate) const OK: Code = Code(0);

    /// `UNKNOWN_TOPIC_OR_PART`, or `ERR_2000?` for a number that librdkafka doesn't know.
    pub(crate) fn name(self) -> String {
        // SAFETY: the function accepts any number and returns a static or thread-local string.
        unsafe { text(codes::rd_kafka_err2name(self.0)) }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: as in `name`.
        f.write_str(&unsafe { text(codes::rd_kafka_err2str(self.0)) })
    }
}

/// An error that librdkafka returned, with its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Error {
    pub(crate) code: Code,
    pub(crate) text: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.code.name())
    }
}

impl Error {
    pub(super) fn check(code: c_int) -> Result<(), Error> {
        if code == 0 { Ok(()) } else { Err(Error { code: Code(code), text: Code(code).to_string() }) }
    }

    /// Consumes an error object; null is success.
    pub(super) fn take(error: *mut rd::rd_kafka_error_t) -> Result<(), Error> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: a non-null error object is ours, valid until destroyed here, once.
        unsafe {
            let code = Code(codes::rd_kafka_error_code(error));
            let text = text(rd::rd_kafka_error_string(error));
            rd::rd_kafka_error_destroy(error);
            Err(Error { code, text })
        }
    }
}

/// # Safety
/// `error` is null or alive.
pub(super) unsafe fn borrowed_error(error: *const rd::rd_kafka_error_t) -> Option<Error> {
    if error.is_null() {
        return None;
    }
    // SAFETY: the caller's promise; the string lives as long as the error.
    unsafe {
        let code = Code(codes::rd_kafka_error_code(error));
        (code != Code::OK).then(|| Error { code, text: text(rd::rd_kafka_error_string(error)) })
    }
}
