;; expect: bad-output: A list at an odd address.
(func $process (type $process)
  (drop (call $nothing (local.get 4))) (i32.store (i32.const 4) (i32.const 65537)) (i32.const 0))
