;; expect: memory: Takes all memory, and traps when it is refused.
(func $process (type $process)
  (loop $more (br_if $more (i32.ne (memory.grow (i32.const 64)) (i32.const -1))))
  unreachable)
