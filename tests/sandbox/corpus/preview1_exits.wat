;; expect: trap: Ends itself with an exit code.
(import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
(func $process (type $process)
  (call $proc_exit (i32.const 0)) unreachable)
