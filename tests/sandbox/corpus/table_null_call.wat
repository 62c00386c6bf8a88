;; expect: trap: Calls an empty entry of a table.
(type $none (func))
(table 10 funcref)
(func $process (type $process)
  (call_indirect (type $none) (i32.const 3)) unreachable)
