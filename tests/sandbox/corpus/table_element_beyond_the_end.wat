;; expect: trap: An element segment that lies beyond the table.
(table 1 funcref)
(func $f)
(elem (i32.const 1) $f)
