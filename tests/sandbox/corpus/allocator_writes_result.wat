;; expect: result: The allocator overwrites what the host wrote before.
;; in realloc: (memory.fill (i32.const 65536) (i32.const 255) (i32.const 4096))

