;; expect: bad-output: The allocator returns odd addresses.
;; in realloc: (return (i32.const 1025))

