//! The allocator of plugins: free lists of blocks whose sizes are powers of two, with memory from `memory.grow`.
//!
//! A plugin allocates small blocks of few sizes and frees them within the call, so one free list per size is enough, and
//! much faster for JSON code than the standard allocator. Memory is never returned: a block is reused only for its own
//! size. Invariant: a block of 2^k bytes is aligned to 2^k or to a page, whichever is less.
//!
//! JUSTIFICATION for the unsafe code: `GlobalAlloc` is an unsafe trait, and allocation is a large part of the time per
//! record.

use std::alloc::GlobalAlloc;
use std::alloc::Layout;
use std::cell::UnsafeCell;
use std::ptr;

const PAGE: usize = 64 * 1024;
/// The smallest block has 16 bytes: it holds the link of its free list, and higher alignments are rare.
const LEAST: u32 = 4;
/// Blocks of a page or more are allocated individually by `memory.grow`.
const PAGE_CLASS: u32 = PAGE.trailing_zeros();
/// The largest block is 2^31 bytes.
const CLASSES: usize = 32;

/// An allocator for one thread.
pub(crate) struct Pool {
    classes: UnsafeCell<[Class; CLASSES]>,
    /// Returns this number of new pages, aligned to a page; null if there are none.
    grow: fn(usize) -> *mut u8,
}

/// Blocks of one size.
#[derive(Clone, Copy)]
struct Class {
    free: *mut Link,
    /// The unused rest of the newest page of this class, and its length in bytes.
    fresh: *mut u8,
    left: usize,
}

struct Link {
    next: *mut Link,
}

// SAFETY: wasm32-unknown-unknown has one thread, and the tests keep each pool on the thread that made it.
unsafe impl Sync for Pool {}

impl Pool {
    pub(crate) const fn new(grow: fn(usize) -> *mut u8) -> Pool {
        let empty = Class { free: ptr::null_mut(), fresh: ptr::null_mut(), left: 0 };
        Pool { classes: UnsafeCell::new([empty; CLASSES]), grow }
    }

    /// Takes a block of 2^`class` bytes from new memory, when the free list is empty.
    #[cold]
    fn fresh(&self, blocks: &mut Class, class: u32) -> *mut u8 {
        let size = 1 << class;
        if class >= PAGE_CLASS {
            return (self.grow)(size / PAGE);
        }
        if blocks.left == 0 {
            let page = (self.grow)(1);
            if page.is_null() {
                return page;
            }
            blocks.fresh = page;
            blocks.left = PAGE;
        }
        let block = blocks.fresh;
        blocks.left -= size;
        // SAFETY: `left` was at least `size`, as both are powers of two times each other's, so this stays in the page or
        // is one past its end.
        blocks.fresh = unsafe { block.add(size) };
        block
    }
}

/// The exponent of the block size for a layout, or `None` if the layout is too large or aligned to more than a page.
fn class(layout: Layout) -> Option<u32> {
    let size = layout.size().max(layout.align());
    if size > 1 << 31 || layout.align() > PAGE {
        return None;
    }
    Some(size.next_power_of_two().trailing_zeros().max(LEAST))
}

// SAFETY: `alloc` returns null or a block that holds the layout, is aligned for it (a block of 2^k bytes is aligned to 2^k
// up to a page, and k covers the alignment) and is on no free list; a class depends on the layout alone, so `dealloc`
// finds the class that `alloc` took the block from.
unsafe impl GlobalAlloc for Pool {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class(layout) else { return ptr::null_mut() };
        // SAFETY: one thread, and nothing below calls back into the allocator while this reference lives.
        let blocks = unsafe { &mut (&mut *self.classes.get())[class as usize] };
        let block = blocks.free;
        if block.is_null() {
            return self.fresh(blocks, class);
        }
        // SAFETY: what is on a free list is a block of this class that `dealloc` wrote a link into.
        blocks.free = unsafe { (*block).next };
        block.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(class) = class(layout) else { return };
        // SAFETY: as in `alloc`.
        let blocks = unsafe { &mut (&mut *self.classes.get())[class as usize] };
        let link = block.cast::<Link>();
        // SAFETY: the caller gives the block up; it is at least 16 bytes and as much aligned.
        unsafe { link.write(Link { next: blocks.free }) };
        blocks.free = link;
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // The caller guarantees that the size, rounded up to the alignment, is valid.
        let Ok(wanted) = Layout::from_size_align(size, layout.align()) else { return ptr::null_mut() };
        if class(wanted) == class(layout) {
            return block;
        }
        // SAFETY: the caller promises what these calls need; the two blocks differ, as one of them is not free.
        unsafe {
            let moved = self.alloc(wanted);
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, size.min(layout.size()));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

#[cfg(target_arch = "wasm32")]
mod global {
    use super::PAGE;
    use super::Pool;

    #[global_allocator]
    static POOL: Pool = Pool::new(grow);

    fn grow(pages: usize) -> *mut u8 {
        match core::arch::wasm32::memory_grow(0, pages) {
            usize::MAX => std::ptr::null_mut(),
            // Memory of 4 GiB has no room behind it, so the product doesn't overflow.
            before => std::ptr::without_provenance_mut(before * PAGE),
        }
    }
}

#[cfg(test)]
mod tests;
