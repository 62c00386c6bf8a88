;; expect: trap: A data segment that lies beyond the memory.
(memory $other 1)
(data (memory $other) (i32.const 65535) "two")
