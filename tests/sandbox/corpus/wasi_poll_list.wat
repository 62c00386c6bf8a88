;; expect: bad-output: Polls a list of handles that takes the whole memory.
;; as: runtime
(import "wasi:io/poll@0.2.6" "poll" (func $poll (param i32 i32 i32)))
(func $process (type $process)
  (drop (memory.grow (i32.const 800))) (call $poll (i32.const 65536) (i32.const 12000000) (i32.const 1024)) unreachable)
