;; Every record as it came, by reference.
(func $process (type $process)
  (local $lengths i32)
  (local.set $lengths (i32.mul (local.get 4) (i32.const 3)))
  (call $outcome
    (call $array (local.get 4) (i32.const 1)) (local.get 4)
    (call $array (local.get $lengths) (i32.const -2)) (local.get $lengths)
    (i32.const 0) (i32.const 0)))
