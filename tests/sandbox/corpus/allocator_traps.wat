;; expect: trap: The allocator traps.
;; in realloc: unreachable

