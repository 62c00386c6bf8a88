;; expect: result: Waits for a day, by a clock.
(import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
(data (i32.const 1040) "\01\00\00\00\00\00\00\00\00\e0\34\95\64\4e\00\00")
(func $process (type $process)
  (drop (call $poll_oneoff (i32.const 1024) (i32.const 2048) (i32.const 1) (i32.const 4096)))
  (drop (call $poll_oneoff (i32.const 1024) (i32.const 2048) (i32.const -1) (i32.const 4096)))
  (call $nothing (local.get 4)))
