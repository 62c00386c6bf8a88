;; expect: bad-output: The result begins in the memory and ends behind it.
(func $process (type $process)
  (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 8)))
