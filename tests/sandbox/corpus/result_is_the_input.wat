;; expect: result or bad-output: The result's lists lie in the lists that the host wrote.
(func $process (type $process)
  (call $outcome (local.get 3) (local.get 4) (local.get 9) (local.get 10) (local.get 3) (i32.const 8)))
