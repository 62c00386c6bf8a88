;; expect: timeout: Calls the host for ever.
(import "wasmill:plugin/metrics@1.0.0" "count" (func $count (param i32 i32 i64)))
(func $process (type $process)
  (loop $again
    (call $count (i32.const 64) (i32.const 4) (i64.const 1))
    (br $again))
  unreachable)
