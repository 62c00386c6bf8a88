;; expect: bad-output or trap: A line that begins in the memory and ends behind it.
(import "wasmill:plugin/log@1.0.0" "write" (func $write (param i32 i32 i32)))
(func $process (type $process)
  (call $write (i32.const 2) (i32.const 64) (i32.const -65))
  (call $nothing (local.get 4)))
