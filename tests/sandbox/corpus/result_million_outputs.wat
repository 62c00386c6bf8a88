;; expect: bad-output: A million empty outputs for the first record.
(func $process (type $process)
  (local $counts i32)
  (local.set $counts (call $array (local.get 4) (i32.const 0)))
  (i32.store (local.get $counts) (i32.const 1000000))
  (call $outcome (local.get $counts) (local.get 4)
    (call $array (i32.const 3000000) (i32.const 0)) (i32.const 3000000) (i32.const 0) (i32.const 0)))
