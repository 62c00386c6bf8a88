//! Recognizes, from wasmtime's errors, that the process lacks a permission that plugins need, and what withholds it.
//!
//! Pure, over the text of an error, which ends with the kernel's error number in all cases.

const EXECUTABLE: &str = "this process may not make memory executable, which a plugin's code needs; lift what forbids it: systemd's \
                          `MemoryDenyWriteExecute`, `prctl(PR_SET_MDWE)`, or SELinux's `execmem`";
const ADDRESSES: &str = "this process gets no more addresses, of which 4 GiB are reserved for each memory of each instance, and twice \
                         while one replaces another, though they take no memory; lift what forbids it, `ulimit -v` or systemd's \
                         `LimitAS`, and bound memory itself (`MemoryMax`, a container's limit), or set a lower `limits.parallelism`";

/// The problem and what to do, if the process lacks what a plugin needs.
pub(super) fn way_out(error: &str) -> Option<&'static str> {
    let said = |what: &str| error.contains(what);
    // systemd's filter returns another error number than the kernel.
    if said("(os error 13)") || said("(os error 1)") {
        return Some(EXECUTABLE);
    }
    said("(os error 12)").then_some(ADDRESSES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_that_forbid_it_are_named() {
        let executable = "unable to make memory executable: Permission denied (os error 13)";
        assert!(way_out(executable).unwrap().contains("MemoryDenyWriteExecute"));
        let addresses = "mmap failed to reserve 0x104000000 bytes: Cannot allocate memory (os error 12)";
        assert!(way_out(addresses).unwrap().contains("ulimit -v"));
        assert_eq!(way_out("unknown import"), None);
    }
}
