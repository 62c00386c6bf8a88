;; expect: bad-output: A list with a pointer beyond the memory.
(func $process (type $process)
  (drop (call $nothing (local.get 4))) (i32.store (i32.const 4) (i32.const -16)) (i32.const 0))
