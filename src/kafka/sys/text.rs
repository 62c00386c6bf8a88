//! UNSAFE. Strings and bytes across the C boundary.
//!
//! JUSTIFICATION: librdkafka passes strings as pointers to NUL-terminated text, and bytes as a pointer and a length.
//!
//! Invariant: a string is copied before the call that returned it can end; bytes are borrowed from a value that owns them.

#![expect(unsafe_code, reason = "librdkafka's own calls; see JUSTIFICATION")]

use std::ffi::CStr;
use std::ffi::CString;
use std::ffi::c_char;
use std::ffi::c_void;

/// # Safety
/// `pointer` is null or a NUL-terminated string that lives during the call.
pub(super) unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// # Safety
/// `pointer` is null, or `length` bytes there live as long as the result.
pub(super) unsafe fn bytes<'a>(pointer: *const c_void, length: usize) -> Option<&'a [u8]> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), length) })
}

/// A topic's name for C. Kafka's names contain no NUL; a name with one becomes the empty name, which no topic has.
pub(super) fn c_topic(name: &str) -> CString {
    CString::new(name).unwrap_or_default()
}
