;; expect: timeout: Asks for random bytes for ever.
(import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
(func $process (type $process)
  (loop $again (drop (call $random_get (i32.const 0) (i32.const 65536))) (br $again))
  unreachable)
