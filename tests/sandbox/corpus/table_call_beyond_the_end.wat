;; expect: trap: Calls the entry with the largest index.
(type $none (func))
(table 10 funcref)
(func $process (type $process)
  (call_indirect (type $none) (i32.const -1)) unreachable)
