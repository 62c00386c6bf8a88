;; expect: timeout: Waits for a day, for ever.
;; as: runtime
;; in post-return: nop
(import "wasi:io/poll@0.2.6" "poll" (func $poll (param i32 i32 i32)))
(import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration" (func $sleep (param i64) (result i32)))
(func $process (type $process)
  (i32.store (i32.const 1024) (call $sleep (i64.const 86400000000000)))
  (loop $again (call $poll (i32.const 1024) (i32.const 1) (i32.const 1032)) (br $again))
  unreachable)
