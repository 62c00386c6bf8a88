;; expect: memory: Makes resources of its own for ever, while it is instantiated.
;; as: component
(type $x_resource (resource (rep i32)))
(core func $x_new (canon resource.new $x_resource))
(core module $x_extra
  (import "x" "new" (func $new (param i32) (result i32)))
  (func $begin (loop (drop (call $new (i32.const 1))) (br 0)))
  (start $begin))
(core instance (instantiate $x_extra (with "x" (instance (export "new" (func $x_new))))))
