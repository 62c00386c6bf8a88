;; expect: result or bad-output: The allocator returns the same address every time, so that the host overwrites what it wrote.
;; in realloc: (return (i32.const 1024))

