;; expect: bad-output: Counts whose sum is 0 in 32 bits.
(func $process (type $process)
  (call $outcome (call $array (local.get 4) (i32.const 0x80000000)) (local.get 4)
    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
