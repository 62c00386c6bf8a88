;; expect: trap: Ends itself with an exit code.
;; as: runtime
(import "wasi:cli/exit@0.2.6" "exit" (func $exit (param i32)))
(func $process (type $process)
  (call $exit (i32.const 0)) unreachable)
