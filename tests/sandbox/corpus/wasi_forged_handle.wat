;; expect: bad-output: Writes to a stream that it never opened.
;; as: runtime
(import "wasi:io/streams@0.2.6" "[method]output-stream.blocking-write-and-flush" (func $write (param i32 i32 i32 i32)))
(func $process (type $process)
  (call $write (i32.const 77) (i32.const 64) (i32.const 5) (i32.const 1024)) unreachable)
