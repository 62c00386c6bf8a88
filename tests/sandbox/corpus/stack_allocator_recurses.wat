;; expect: trap: The allocator, which the host calls, recurses.
;; in realloc: (drop (call $realloc (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 1)))

