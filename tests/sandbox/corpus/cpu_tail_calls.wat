;; expect: timeout: Two functions call each other at their ends, so that the stack never fills.
(func $one (param i32) (return_call $two (i32.add (local.get 0) (i32.const 1))))
(func $two (param i32) (return_call $one (local.get 0)))
(func $process (type $process)
  (call $one (i32.const 0)) unreachable)
