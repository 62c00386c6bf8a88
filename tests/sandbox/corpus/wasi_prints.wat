;; expect: result or timeout: Prints its whole memory, without a newline, again and again.
;; as: runtime
(import "wasi:cli/stderr@0.2.6" "get-stderr" (func $stderr (result i32)))
(import "wasi:io/streams@0.2.6" "[method]output-stream.blocking-write-and-flush" (func $write (param i32 i32 i32 i32)))
(func $process (type $process)
  (local $left i32) (local $to i32)
  (drop (memory.grow (i32.const 800)))
  (local.set $to (call $stderr))
  (local.set $left (i32.const 1000))
  (loop $again
    (call $write (local.get $to) (i32.const 65536) (i32.const 50000000) (i32.const 1024))
    (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
  (call $nothing (local.get 4)))
