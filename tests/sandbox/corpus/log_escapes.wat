;; expect: result: Lines with newlines, escape sequences, text that runs from right to left, and a copy of a log line.
(import "wasmill:plugin/log@1.0.0" "write" (func $write (param i32 i32 i32)))
(data (i32.const 64) "\1b]0;title\07\1b[2J\0d\0a2026-01-01T00:00:00Z ERROR fake\00\e2\80\ae\c2\9b31m")
(func $process (type $process)
  (call $write (i32.const 4) (i32.const 64) (i32.const 56))
  (call $nothing (local.get 4)))
