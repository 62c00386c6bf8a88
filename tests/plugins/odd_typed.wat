;; A guest of the world `transform`, the typed one, that forwards every record as it came, but for one.
;;
;; `AFTER` is replaced by what it does to the answer when the record at `OFFSET` is in the batch: $own is where its verdict lies, of
;; 24 bytes (a tag, then its payload from 4 on), $n the number of records. Below 8192 lies what never moves: the answer at 1024, an output
;; of 64 bytes at 2048, which is its record as it came.
(module
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 8192))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get 3)))
    (loop $more
      (if (i32.gt_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536)))
        (then (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable)) (br $more))))
    (local.get $at))
  (func (export "wasmill:plugin/handler@1.0.0#init") (param i32 i32 i32 i32) (result i32)
    (global.set $heap (i32.const 8192))
    (i32.const 16))
  (func (export "cabi_post_wasmill:plugin/handler@1.0.0#process") (param i32)
    (global.set $heap (i32.const 8192)))
  ;; Makes a verdict one that emits the output at 2048.
  (func $emit (param $own i32)
    (memory.fill (i32.const 2048) (i32.const 0) (i32.const 64))
    (i32.store8 (local.get $own) (i32.const 1))
    (i32.store offset=4 (local.get $own) (i32.const 2048))
    (i32.store offset=8 (local.get $own) (i32.const 1)))
  ;; Makes a verdict one that emits 100 outputs, whose values are the same 2,000,000 bytes.
  (func $alias (param $own i32) (local $at i32) (local $i i32)
    (local.set $at (i32.mul (memory.grow (i32.const 40)) (i32.const 65536)))
    (i32.store8 (local.get $own) (i32.const 1))
    (i32.store offset=4 (local.get $own) (local.get $at))
    (i32.store offset=8 (local.get $own) (i32.const 100))
    (loop $next
      (i32.store8 offset=16 (local.get $at) (i32.const 2))
      (i32.store offset=24 (local.get $at) (i32.const 2000000))
      (local.set $at (i32.add (local.get $at) (i32.const 64)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (i32.const 100)))))
  (func (export "wasmill:plugin/handler@1.0.0#process")
    (param $topic i32) (param $topic_len i32) (param $partition i32) (param $messages i32) (param $n i32) (result i32)
    (local $i i32) (local $bad i32) (local $verdicts i32) (local $own i32)
    (local.set $bad (i32.const -1))
    (local.set $verdicts (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (local.set $i (i32.mul (i32.add (local.get $n) (i32.const 4)) (i32.const 24)))
    (loop $more
      (if (i32.gt_u (i32.add (local.get $verdicts) (local.get $i)) (i32.mul (memory.size) (i32.const 65536)))
        (then (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable)) (br $more))))
    ;; A verdict of zeros forwards to port 0.
    (memory.fill (local.get $verdicts) (i32.const 0) (local.get $i))
    (local.set $i (i32.const 0))
    (loop $next
      (if (i32.lt_u (local.get $i) (local.get $n)) (then
        (if (i64.eq (i64.load (i32.add (local.get $messages) (i32.mul (local.get $i) (i32.const 64)))) (i64.const OFFSET))
          (then (local.set $bad (local.get $i))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next))))
    (memory.fill (i32.const 1024) (i32.const 0) (i32.const 12))
    (i32.store (i32.const 1028) (local.get $verdicts))
    (i32.store (i32.const 1032) (local.get $n))
    (local.set $own (i32.add (local.get $verdicts) (i32.mul (local.get $bad) (i32.const 24))))
    (if (i32.ge_s (local.get $bad) (i32.const 0)) (then AFTER))
    (i32.const 1024)))
