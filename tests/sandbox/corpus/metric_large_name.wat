;; expect: result or bad-output or timeout: A name of a metric of 20 MB, with newlines and braces.
(import "wasmill:plugin/metrics@1.0.0" "count" (func $count (param i32 i32 i64)))
(func $process (type $process)
  (drop (memory.grow (i32.const 400)))
  (memory.fill (i32.const 65536) (i32.const 10) (i32.const 20000000))
  (i32.store (i32.const 65536) (i32.const 0x7d227b0a))
  (call $count (i32.const 65536) (i32.const 20000000) (i64.const 1))
  (call $nothing (local.get 4)))
