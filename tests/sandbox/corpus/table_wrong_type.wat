;; expect: trap: Calls a function of a table as if it had another type.
(type $other (func (param i64 i64 i64) (result f64)))
(func $f (param i32))
(table funcref (elem $f))
(func $process (type $process)
  (drop (call_indirect (type $other) (i64.const 1) (i64.const 2) (i64.const 3) (i32.const 0)))
  unreachable)
