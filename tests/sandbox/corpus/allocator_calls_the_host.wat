;; expect: trap: The allocator calls the host while the host waits for it.
;; in realloc: (call $count (i32.const 0) (i32.const 0) (i64.const 1))
(import "wasmill:plugin/metrics@1.0.0" "count" (func $count (param i32 i32 i64)))
