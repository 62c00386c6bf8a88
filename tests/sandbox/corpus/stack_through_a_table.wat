;; expect: trap: Recurses through a table.
(type $none (func))
(func $deeper (call_indirect (type $none) (i32.const 0)) (call_indirect (type $none) (i32.const 0)))
(table funcref (elem $deeper))
(func $process (type $process)
  (call $deeper) unreachable)
