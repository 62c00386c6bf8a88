//! Tests the pool on leaked pages of the system's allocator: a plugin's memory doesn't shrink either.

use std::alloc::System;
use std::cell::Cell;

use super::*;

thread_local! {
    static PAGES: Cell<usize> = const { Cell::new(0) };
}

fn pages(pages: usize) -> *mut u8 {
    PAGES.set(PAGES.get() + pages);
    let layout = Layout::from_size_align(pages * PAGE, PAGE).unwrap();
    // SAFETY: the layout is not empty.
    unsafe { System.alloc(layout) }
}

fn no_pages(_: usize) -> *mut u8 {
    ptr::null_mut()
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// A block filled with `mark`, and its layout.
struct Block {
    at: *mut u8,
    layout: Layout,
    mark: u8,
}

impl Block {
    fn new(pool: &Pool, layout: Layout, mark: u8) -> Block {
        // SAFETY: no layout here is empty.
        let at = unsafe { pool.alloc(layout) };
        assert!(!at.is_null() && at.addr() % layout.align() == 0, "{layout:?}");
        let block = Block { at, layout, mark };
        block.fill();
        block
    }

    fn fill(&self) {
        // SAFETY: the block holds its layout.
        unsafe { self.at.write_bytes(self.mark, self.layout.size()) };
    }

    fn resize(&mut self, pool: &Pool, size: usize) {
        let kept = size.min(self.layout.size());
        // SAFETY: the block is of this pool and layout, and the new size is not 0.
        self.at = unsafe { pool.realloc(self.at, self.layout, size) };
        self.layout = layout(size, self.layout.align());
        self.check(kept);
        self.fill();
    }

    fn check(&self, bytes: usize) {
        // SAFETY: the block was filled to its layout's size, of which `bytes` is a part.
        let seen = unsafe { std::slice::from_raw_parts(self.at, bytes) };
        assert!(seen.iter().all(|&byte| byte == self.mark), "a block was written to by another");
    }

    fn free(self, pool: &Pool) {
        self.check(self.layout.size());
        // SAFETY: the block is of this pool and layout.
        unsafe { pool.dealloc(self.at, self.layout) };
    }
}

#[test]
fn blocks_never_overlap_whatever_is_allocated_resized_and_freed() {
    let pool = Pool::new(pages);
    let mut blocks: Vec<Block> = Vec::new();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for mark in (0..=u8::MAX).cycle().take(20_000) {
        // Xorshift: the same schedule in each run.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let random = usize::try_from(state >> 33).unwrap();
        let size = (1 << (random % 18)) + random % 13;
        match random % 7 {
            0..=2 => blocks.push(Block::new(&pool, layout(size, 1 << (random % 9)), mark)),
            3..=4 if !blocks.is_empty() => {
                let at = random % blocks.len();
                blocks[at].resize(&pool, size);
            }
            _ if !blocks.is_empty() => blocks.swap_remove(random % blocks.len()).free(&pool),
            _ => {}
        }
    }
    for block in blocks {
        block.free(&pool);
    }
}

#[test]
fn a_call_that_is_repeated_needs_no_more_memory() {
    let pool = Pool::new(pages);
    let call = || {
        let mut data = Block::new(&pool, layout(16, 1), 1);
        for size in [40, 1_000, 70_000, 300_000, 5_000] {
            data.resize(&pool, size);
        }
        let small: Vec<Block> = (0..1000).map(|_| Block::new(&pool, layout(24, 8), 2)).collect();
        small.into_iter().for_each(|block| block.free(&pool));
        data.free(&pool);
    };
    call();
    let after_one = PAGES.get();
    for _ in 0..100 {
        call();
    }
    assert_eq!(PAGES.get(), after_one);
}

#[test]
fn a_block_is_resized_in_place_up_to_its_power_of_two() {
    let pool = Pool::new(pages);
    let mut block = Block::new(&pool, layout(65, 1), 3);
    let before = block.at;
    block.resize(&pool, 128);
    assert_eq!(block.at, before);
    block.resize(&pool, 129);
    assert_ne!(block.at, before);
    block.free(&pool);
}

#[test]
fn memory_that_is_refused_gives_null() {
    let pool = Pool::new(no_pages);
    for size in [1, 5_000, PAGE, 1 << 24] {
        // SAFETY: the layout is not empty.
        assert!(unsafe { pool.alloc(layout(size, 1)) }.is_null());
    }
    // SAFETY: the layout is not empty.
    assert!(unsafe { pool.alloc(layout(1, 2 * PAGE)) }.is_null(), "alignment above a page is not to be had");
}
