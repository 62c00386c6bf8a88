;; expect: bad-output or timeout: Names more topics than a call may.
;; as: naming
(import "wasmill:plugin/topics@1.2.0" "number" (func $number (param i32 i32 i32) (result i32)))
(func $process (type $process)
  (local $left i32)
  (local.set $left (i32.const 100000))
  (loop $again
    (i32.store (i32.const 64) (i32.add (i32.const 0x61616161) (i32.and (local.get $left) (i32.const 0x0f0f0f0f))))
    (i32.store (i32.const 68) (i32.add (i32.const 0x61616161) (i32.and (i32.shr_u (local.get $left) (i32.const 4)) (i32.const 0x0f0f0f0f))))
    (drop (call $number (i32.const 0) (i32.const 64) (i32.const 8)))
    (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
  (call $nothing (local.get 4)))
