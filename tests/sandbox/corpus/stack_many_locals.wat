;; expect: trap: Recurses with 40,000 locals a frame.
;; as: module
(func $deeper (param i64) (result i64)
  (local (;repeat 40000;) i64 (;end;))
  (local.set 39999 (call $deeper (i64.add (local.get 0) (i64.const 1))))
  (i64.add (local.get 39999) (call $deeper (local.get 39999))))
(func $process (type $process)
  (drop (call $deeper (i64.const 0))) unreachable)
