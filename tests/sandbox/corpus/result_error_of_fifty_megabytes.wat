;; expect: error or timeout: An error whose text has 50 MB.
(func $process (type $process)
  (drop (memory.grow (i32.const 800)))
  (memory.fill (i32.const 65536) (i32.const 27) (i32.const 50000000))
  (i32.store8 (i32.const 0) (i32.const 1))
  (i32.store (i32.const 4) (i32.const 65536)) (i32.store (i32.const 8) (i32.const 50000000))
  (i32.const 0))
