;; An error whose text isn't UTF-8.
(data (i32.const 64) "\ff")
(func $process (type $process)
  (i32.store8 (i32.const 0) (i32.const 1))
  (i32.store (i32.const 4) (i32.const 64))
  (i32.store (i32.const 8) (i32.const 1))
  (i32.const 0))
