;; expect: result or timeout: Grows a table until it is refused.
(table $t 1 funcref)
(func $process (type $process)
  (loop $more (br_if $more (i32.ne (table.grow $t (ref.null func) (i32.const 100000)) (i32.const -1))))
  (if (i32.gt_u (table.size $t) (i32.const 8388608)) (then unreachable))
  (call $nothing (local.get 4)))
