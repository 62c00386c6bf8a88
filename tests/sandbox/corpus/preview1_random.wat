;; expect: trap: Asks for four billion random bytes.
(import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
(func $process (type $process)
  (drop (call $random_get (i32.const 0) (i32.const -1))) (call $nothing (local.get 4)))
