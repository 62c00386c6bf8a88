;; expect: result: Asks for more memory than there can be.
(func $process (type $process)
  (if (i32.ne (memory.grow (i32.const -1)) (i32.const -1)) (then unreachable))
  (if (i32.ne (memory.grow (i32.const 65536)) (i32.const -1)) (then unreachable))
  (if (i32.ne (memory.grow (i32.const 0x7fffffff)) (i32.const -1)) (then unreachable))
  (call $nothing (local.get 4)))
