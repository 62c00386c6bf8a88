;; Asks for memory for ever.
(func $process (type $process) (loop (drop (memory.grow (i32.const 16))) (br 0)) unreachable)
