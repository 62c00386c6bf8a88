;; expect: timeout: Fills and copies its memory for ever.
(func $process (type $process)
  (drop (memory.grow (i32.const 700)))
  (loop $again
    (memory.fill (i32.const 131072) (i32.const 7) (i32.const 45000000))
    (memory.copy (i32.const 131072) (i32.const 131073) (i32.const 45000000))
    (br $again))
  unreachable)
