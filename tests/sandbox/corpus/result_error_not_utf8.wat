;; expect: bad-output: An error whose text is not UTF-8.
(data (i32.const 64) "\ff\fe\c0\80\ed\a0\80")
(func $process (type $process)
  (i32.store8 (i32.const 0) (i32.const 1))
  (i32.store (i32.const 4) (i32.const 64)) (i32.store (i32.const 8) (i32.const 7))
  (i32.const 0))
