;; expect: timeout: Fills and copies large tables for ever.
(table $a 1000000 funcref)
(table $b 1000000 funcref)
(func $process (type $process)
  (loop $again
    (table.fill $a (i32.const 0) (ref.null func) (i32.const 1000000))
    (table.copy $b $a (i32.const 0) (i32.const 0) (i32.const 1000000))
    (br $again))
  unreachable)
