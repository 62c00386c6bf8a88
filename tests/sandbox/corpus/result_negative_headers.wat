;; expect: bad-output: Outputs with minus 5 headers.
(func $process (type $process)
  (call $outcome (call $array (local.get 4) (i32.const 1)) (local.get 4)
    (call $array (i32.mul (local.get 4) (i32.const 3)) (i32.const -5)) (i32.mul (local.get 4) (i32.const 3))
    (i32.const 0) (i32.const 0)))
