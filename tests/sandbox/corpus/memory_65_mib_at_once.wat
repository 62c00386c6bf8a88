;; expect: result: Asks for 65 MiB where it may have 64: the growth has to return -1.
(func $process (type $process)
  (if (i32.ne (memory.grow (i32.const 1040)) (i32.const -1)) (then unreachable))
  (call $nothing (local.get 4)))
