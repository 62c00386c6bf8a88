//! The functions that the generated bindings call: memory for data that crosses to and from the host, and constructors.
//!
//! JUSTIFICATION for the unsafe code: the component model's memory protocol is in raw pointers.

use std::alloc::Layout;
use std::alloc::alloc;
use std::alloc::dealloc;
use std::alloc::handle_alloc_error;
use std::alloc::realloc;
use std::ptr::NonNull;
use std::ptr::null_mut;

/// Called by the bindings so that `cabi_realloc` is linked. Empty, because `export!` links it.
pub(crate) fn maybe_link_cabi_realloc() {}

/// Runs the constructors of statics, once. The linker generates the function that runs them, and would call it at every exported
/// call if the plugin never called it.
#[cfg(target_arch = "wasm32")]
pub(crate) fn run_ctors_once() {
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering;

    unsafe extern "C" {
        fn __wasm_call_ctors();
    }
    static RAN: AtomicBool = AtomicBool::new(false);
    if !RAN.swap(true, Ordering::Relaxed) {
        // SAFETY: the linker makes it, and it runs once, before anything else of the plugin.
        unsafe { __wasm_call_ctors() }
    }
}

/// Allocates or resizes memory for data from the host: the function `cabi_realloc` of the component model.
///
/// # Safety
/// `block` has `old` bytes of this alignment and came from here, or `old` is 0. `size` is 0 only if `old` is, and rounded up to
/// `align`, a power of two, no more than `isize::MAX`.
#[must_use]
pub unsafe fn cabi_realloc(block: *mut u8, old: usize, align: usize, size: usize) -> *mut u8 {
    if size == 0 {
        // Never dereferenced, but it must be aligned and not null.
        return std::ptr::without_provenance_mut(align);
    }
    // SAFETY: the caller's.
    let new = unsafe {
        if old == 0 {
            alloc(Layout::from_size_align_unchecked(size, align))
        } else {
            realloc(block, Layout::from_size_align_unchecked(old, align), size)
        }
    };
    if new.is_null() {
        // The smallest possible trap: the host knows that the memory limit was reached.
        #[cfg(target_arch = "wasm32")]
        core::arch::wasm32::unreachable();
        #[cfg(not(target_arch = "wasm32"))]
        std::process::abort();
    }
    new
}

/// Memory for a list that is passed to the host, freed when it is dropped.
pub(crate) struct Cleanup {
    block: NonNull<u8>,
    layout: Layout,
}

impl Cleanup {
    /// Allocates a block with the guard that frees it; null and no guard for a size of 0.
    pub(crate) fn new(layout: Layout) -> (*mut u8, Option<Cleanup>) {
        if layout.size() == 0 {
            return (null_mut(), None);
        }
        // SAFETY: it has bytes.
        let block = NonNull::new(unsafe { alloc(layout) });
        let block = block.unwrap_or_else(|| handle_alloc_error(layout));
        (block.as_ptr(), Some(Cleanup { block, layout }))
    }

    /// Leaves the block to the host, which has it freed after reading it.
    pub(crate) fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout, and is freed here only.
        unsafe { dealloc(self.block.as_ptr(), self.layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_for_the_host_keeps_what_it_holds_when_it_grows() {
        // SAFETY: each block is given with its size and alignment, and written only inside of it.
        unsafe {
            let empty = cabi_realloc(null_mut(), 0, 8, 0);
            assert!(!empty.is_null() && empty.addr().is_multiple_of(8));
            let block = cabi_realloc(null_mut(), 0, 8, 16);
            block.write_bytes(7, 16);
            let block = cabi_realloc(block, 16, 8, 4096);
            assert_eq!(std::slice::from_raw_parts(block, 16), [7; 16]);
            dealloc(block, Layout::from_size_align(4096, 8).unwrap());
        }
    }
}
