;; expect: trap: Two instances call each other, one through an import and one through a table.
;; as: component
(core module $x_table (table (export "t") 1 funcref))
(core instance $x_shared (instantiate $x_table))
(core module $x_one
  (import "x" "t" (table 1 funcref)) (type $none (func))
  (func $call (export "call") (call_indirect (type $none) (i32.const 0)) (call_indirect (type $none) (i32.const 0))))
(core instance $x_first (instantiate $x_one (with "x" (instance $x_shared))))
(core module $x_two
  (import "x" "t" (table 1 funcref)) (import "y" "call" (func $call))
  (func $back (call $call) (call $call))
  (elem (i32.const 0) $back)
  (start $back))
(core instance (instantiate $x_two (with "x" (instance $x_shared)) (with "y" (instance $x_first))))
