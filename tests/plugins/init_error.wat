;; Doesn't like its settings, and returns them.
(func $init (param i32 i32 i32 i32) (result i32)
  (i32.store8 (i32.const 0) (i32.const 1))
  (i32.store (i32.const 4) (local.get 0))
  (i32.store (i32.const 8) (local.get 1))
  (i32.const 0))
(func $process (type $process) (i32.const 0))
