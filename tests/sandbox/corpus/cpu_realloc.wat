;; expect: timeout: Loops in the allocator, which the host calls.
;; in realloc: (loop (br 0))

