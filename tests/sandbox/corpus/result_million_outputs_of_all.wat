;; expect: bad-output: Ten thousand outputs for each record, each a reference to the record's own value of 100 KiB.
(func $process (type $process)
  (local $n i32)
  (local.set $n (i32.mul (local.get 4) (i32.const 10000)))
  (call $outcome (call $array (local.get 4) (i32.const 10000)) (local.get 4)
    (call $array (i32.mul (local.get $n) (i32.const 3)) (i32.const -2)) (i32.mul (local.get $n) (i32.const 3))
    (i32.const 0) (i32.const 0)))
