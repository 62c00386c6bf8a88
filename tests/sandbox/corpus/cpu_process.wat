;; expect: timeout: Loops in `process`, by way of a table of branches.
(func $process (type $process)
  (local $i i32)
  (loop $again
    (block $a (block $b (block $c
      (br_table $a $b $c $again (i32.and (local.get $i) (i32.const 3)))))
      (local.set $i (i32.add (local.get $i) (i32.const 1))))
    (local.set $i (i32.add (local.get $i) (i32.const 7)))
    (br $again))
  unreachable)
