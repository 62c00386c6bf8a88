;; expect: result or timeout: A million observations, among them infinite ones and none.
(import "wasmill:plugin/metrics@1.0.0" "observe" (func $observe (param i32 i32 f64)))
(data (i32.const 64) "size")
(func $process (type $process)
  (local $left i32)
  (local.set $left (i32.const 1000000))
  (loop $again
    (call $observe (i32.const 64) (i32.const 4) (f64.div (f64.const 1) (f64.convert_i32_u (i32.and (local.get $left) (i32.const 1)))))
    (call $observe (i32.const 64) (i32.const 4) (f64.const nan))
    (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
  (call $nothing (local.get 4)))
