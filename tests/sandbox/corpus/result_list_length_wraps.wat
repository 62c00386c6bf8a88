;; expect: bad-output: A list whose size in bytes is 0 in 32 bits.
(func $process (type $process)
  (drop (call $nothing (local.get 4))) (i32.store (i32.const 32) (i32.const 0x40000000)) (i32.const 0))
