;; expect: bad-output: Makes a pollable for each of a million durations.
;; as: runtime
(import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration" (func $sleep (param i64) (result i32)))
(func $process (type $process)
  (loop $again (drop (call $sleep (i64.const -1))) (br $again)) unreachable)
