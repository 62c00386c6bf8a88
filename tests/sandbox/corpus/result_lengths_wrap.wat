;; expect: bad-output: Outputs whose lengths are 0 when they are added in 32 bits.
(func $process (type $process)
  (local $layout i32)
  (local.set $layout (call $array (i32.mul (local.get 4) (i32.const 3)) (i32.const 0x7fffffff)))
  (call $outcome (call $array (local.get 4) (i32.const 1)) (local.get 4)
    (local.get $layout) (i32.mul (local.get 4) (i32.const 3)) (i32.const 0) (i32.const 0)))
