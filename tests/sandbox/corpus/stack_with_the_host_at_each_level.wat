;; expect: trap or timeout: Recurses, and calls the host at each level, the last time with hardly any stack left.
(import "wasmill:plugin/log@1.0.0" "write" (func $write (param i32 i32 i32)))
(import "wasmill:plugin/metrics@1.0.0" "count" (func $count (param i32 i32 i64)))
(data (i32.const 64) "deeper")
(func $deeper
  (call $count (i32.const 64) (i32.const 6) (i64.const 1))
  (call $write (i32.const 0) (i32.const 64) (i32.const 6))
  (call $deeper)
  (call $count (i32.const 64) (i32.const 6) (i64.const 1)))
(func $process (type $process)
  (call $deeper) unreachable)
