;; expect: result or bad-output or timeout: Lines of 50 MB.
(import "wasmill:plugin/log@1.0.0" "write" (func $write (param i32 i32 i32)))
(func $process (type $process)
  (local $left i32)
  (drop (memory.grow (i32.const 800)))
  (memory.fill (i32.const 65536) (i32.const 10) (i32.const 50000000))
  (local.set $left (i32.const 4))
  (loop $again
    (call $write (i32.const 4) (i32.const 65536) (i32.const 50000000))
    (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
  (call $nothing (local.get 4)))
