;; expect: bad-output: A list with four billion entries.
(func $process (type $process)
  (drop (call $nothing (local.get 4))) (i32.store (i32.const 8) (i32.const -1)) (i32.const 0))
