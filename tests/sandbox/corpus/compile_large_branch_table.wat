;; expect: result or refused: A table of 60,000 branches.
;; as: module
(func $branches (param i32)
  (block $out (br_table (;repeat 60000;) $out (;end;) $out (local.get 0))))
(func $process (type $process)
  (call $branches (i32.const 59999)) (call $nothing (local.get 4)))
