;; expect: result or refused: A function of 60,000 instructions whose values all live at once.
;; as: module
(func $large (param i64) (result i64)
  (;repeat 20000;) (i64.mul (local.get 0) (i64.const (;i;))) (;end;)
  (;repeat 19999;) i64.add (;end;))
(func $process (type $process)
  (drop (call $large (i64.const 1))) (call $nothing (local.get 4)))
