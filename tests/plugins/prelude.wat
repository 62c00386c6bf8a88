;; What every fixture shares; the text of a fixture stands before it in the same module.
;; A fixture defines $process and may define $init. Addresses below 65536 are the fixture's, 0 to 63 hold the result.
;;
;; Parameters of $process: 0 topic, 1 its length, 2 partition, then pointer and length of offsets 3 4, timestamps 5 6,
;; attempts 7 8, layout 9 10, data 11 12.
(type $process (func (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
(memory (export "memory") 2)
(global $next (mut i32) (i32.const 65536))
(func $realloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
  (local $at i32)
  (local.set $at (i32.and
    (i32.add (global.get $next) (i32.sub (local.get 2) (i32.const 1)))
    (i32.sub (i32.const 0) (local.get 2))))
  (global.set $next (i32.add (local.get $at) (local.get 3)))
  (loop $again
    (if (i32.gt_u (global.get $next) (i32.mul (memory.size) (i32.const 65536)))
      (then
        (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
        (br $again))))
  (local.get $at))
(func $array (param $n i32) (param $value i32) (result i32)
  (local $at i32) (local $end i32) (local $first i32)
  (local.set $at (call $realloc (i32.const 0) (i32.const 0) (i32.const 4) (i32.shl (local.get $n) (i32.const 2))))
  (local.set $first (local.get $at))
  (local.set $end (i32.add (local.get $at) (i32.shl (local.get $n) (i32.const 2))))
  (block $done
    (loop $again
      (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
      (i32.store (local.get $at) (local.get $value))
      (local.set $at (i32.add (local.get $at) (i32.const 4)))
      (br $again)))
  (local.get $first))
;; An outcome without ports, partitions, timestamps and failures.
(func $outcome (param $counts i32) (param $n i32) (param $layout i32) (param $lengths i32) (param $data i32) (param $bytes i32)
  (result i32)
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 64))
  (i32.store (i32.const 4) (local.get $counts))
  (i32.store (i32.const 8) (local.get $n))
  (i32.store (i32.const 36) (local.get $layout))
  (i32.store (i32.const 40) (local.get $lengths))
  (i32.store (i32.const 44) (local.get $data))
  (i32.store (i32.const 48) (local.get $bytes))
  (i32.const 0))
(export "wasmill:plugin/batch-handler@1.0.0#init" (func $init))
(export "wasmill:plugin/batch-handler@1.0.0#process" (func $process))
(func (export "cabi_post_wasmill:plugin/batch-handler@1.0.0#process") (param i32)
  (global.set $next (i32.const 65536)))
