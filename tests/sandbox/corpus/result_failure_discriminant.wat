;; expect: bad-output: A failure of a kind that there isn't.
(func $process (type $process)
  (drop (call $nothing (local.get 4)))
  (i32.store (i32.const 52) (i32.const 128)) (i32.store (i32.const 56) (i32.const 1))
  (i32.store8 (i32.const 132) (i32.const 255))
  (i32.const 0))
