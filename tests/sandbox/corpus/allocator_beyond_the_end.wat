;; expect: bad-output: The allocator returns an address beyond the memory.
;; in realloc: (return (i32.const -65536))

