;; expect: result or timeout: A million lines of log.
(import "wasmill:plugin/log@1.0.0" "write" (func $write (param i32 i32 i32)))
(data (i32.const 64) "again and again")
(func $process (type $process)
  (local $left i32)
  (local.set $left (i32.const 1000000))
  (loop $again
    (call $write (i32.rem_u (local.get $left) (i32.const 5)) (i32.const 64) (i32.const 15))
    (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
  (call $nothing (local.get 4)))
