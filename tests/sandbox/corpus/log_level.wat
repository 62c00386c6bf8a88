;; expect: bad-output or trap: A line of a level that there isn't.
(import "wasmill:plugin/log@1.0.0" "write" (func $write (param i32 i32 i32)))
(func $process (type $process)
  (call $write (i32.const 5) (i32.const 64) (i32.const 1))
  (call $nothing (local.get 4)))
