;; Takes memory until it is refused, and gives up.
(func $process (type $process) (loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable)
