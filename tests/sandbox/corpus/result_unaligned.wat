;; expect: bad-output: A result at an odd address.
(func $process (type $process)
  (drop (call $nothing (local.get 4))) (i32.const 1))
