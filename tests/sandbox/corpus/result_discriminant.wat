;; expect: bad-output: Neither a result nor an error.
(func $process (type $process)
  (i32.store8 (i32.const 0) (i32.const 2)) (i32.const 0))
