;; expect: bad-output: An output to the port with the largest number.
(func $process (type $process)
  (drop (call $outcome (call $array (local.get 4) (i32.const 1)) (local.get 4)
    (call $array (i32.mul (local.get 4) (i32.const 3)) (i32.const -2)) (i32.mul (local.get 4) (i32.const 3))
    (i32.const 0) (i32.const 0)))
  (i32.store (i32.const 12) (call $array (local.get 4) (i32.const -1))) (i32.store (i32.const 16) (local.get 4))
  (i32.const 0))
