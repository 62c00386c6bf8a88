;; expect: bad-output: The result lies at the last address there is.
(func $process (type $process)
  (i32.const -4))
