;; A guest of the world `transform-batch` that forwards every record as it came, but for one.
;;
;; `BEFORE` and `AFTER` are replaced by what it does when the record at `PARTITION` and `OFFSET` is in the batch: before the
;; outcome is built, and to the outcome. $bad is the record's index in the batch, $n the number of records, $own where its
;; output's three numbers are in the layout. `STAMP` is the timestamp of all outputs, 0 is the input's. Below 4096 lies what never moves: the answer, zeros, a failure, texts at 512.
(module
  (memory (export "memory") 1)
  (global $heap (mut i32) (i32.const 4096))
  ;; The answer is a tag, then pointer and length of each list.
  (global $answer i32 (i32.const 1024))
  (global $counts_at i32 (i32.const 1028))
  (global $ports_at i32 (i32.const 1036))
  (global $partitions_at i32 (i32.const 1044))
  (global $timestamps_at i32 (i32.const 1052))
  (global $layout_at i32 (i32.const 1060))
  (global $data_at i32 (i32.const 1068))
  (global $failures_at i32 (i32.const 1076))
  (global $zeros i32 (i32.const 2048))
  (global $failure i32 (i32.const 3072))
  (data (i32.const 512) "planted-codeplanted reason\ff\fe")
  (func $alloc (param $size i32) (result i32) (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (loop $more
      (if (i32.gt_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536)))
        (then (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable)) (br $more))))
    (local.get $at))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (call $alloc (local.get 3)))
  (func (export "wasmill:plugin/batch-handler@1.0.0#init") (param i32 i32 i32 i32) (result i32)
    (global.set $heap (i32.const 4096))
    (i32.store8 (global.get $answer) (i32.const 0))
    (global.get $answer))
  (func (export "cabi_post_wasmill:plugin/batch-handler@1.0.0#process") (param i32)
    (global.set $heap (i32.const 4096)))
  (func $recurse (param i32) (result i32)
    (i32.add (call $recurse (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))
  ;; Makes one of the answer's lists.
  (func $list (param $at i32) (param $pointer i32) (param $length i32)
    (i32.store (local.get $at) (local.get $pointer))
    (i32.store offset=4 (local.get $at) (local.get $length)))
  ;; Makes one of the answer's lists longer or, by less than zero, shorter.
  (func $lengthen (param $at i32) (param $by i32)
    (i32.store offset=4 (local.get $at) (i32.add (i32.load offset=4 (local.get $at)) (local.get $by))))
  ;; Gives the record's output one header with these lengths; $after is the number of records after it.
  (func $header (param $own i32) (param $after i32) (param $name i32) (param $value i32)
    (memory.copy (i32.add (local.get $own) (i32.const 20)) (i32.add (local.get $own) (i32.const 12))
      (i32.mul (local.get $after) (i32.const 12)))
    (i32.store offset=8 (local.get $own) (i32.const 1))
    (i32.store offset=12 (local.get $own) (local.get $name))
    (i32.store offset=16 (local.get $own) (local.get $value))
    (call $lengthen (global.get $layout_at) (i32.const 2)))
  ;; Takes back the record's output. All outputs are alike, so it doesn't matter which is cut off.
  (func $drop_output (param $counts i32) (param $bad i32)
    (i32.store (i32.add (local.get $counts) (i32.shl (local.get $bad) (i32.const 2))) (i32.const 0))
    (call $lengthen (global.get $layout_at) (i32.const -3)))
  ;; Lists one failure: a reject.
  (func $reject (param $index i32)
    (call $list (global.get $failures_at) (global.get $failure) (i32.const 1))
    (i32.store (global.get $failure) (local.get $index))
    (i32.store8 offset=4 (global.get $failure) (i32.const 1))
    (i32.store offset=8 (global.get $failure) (i32.const 512))
    (i32.store offset=12 (global.get $failure) (i32.const 12))
    (i32.store offset=16 (global.get $failure) (i32.const 524))
    (i32.store offset=20 (global.get $failure) (i32.const 14)))
  ;; Lists one failure: a retry after the policy's backoff.
  (func $retry (param $index i32)
    (call $reject (local.get $index))
    (i32.store8 offset=4 (global.get $failure) (i32.const 0))
    (i32.store8 offset=8 (global.get $failure) (i32.const 0)))
  ;; Answers with an error of these bytes.
  (func $error (param $pointer i32) (param $length i32)
    (i32.store8 (global.get $answer) (i32.const 1))
    (call $list (global.get $counts_at) (local.get $pointer) (local.get $length)))
  ;; Gives n outputs this timestamp.
  (func $stamp (param $stamp i64) (param $n i32) (local $at i32) (local $i i32)
    (local.set $at (call $alloc (i32.shl (local.get $n) (i32.const 3))))
    (loop $next
      (if (i32.lt_u (local.get $i) (local.get $n)) (then
        (i64.store (i32.add (local.get $at) (i32.shl (local.get $i) (i32.const 3))) (local.get $stamp))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next))))
    (call $list (global.get $timestamps_at) (local.get $at) (local.get $n)))
  (func (export "wasmill:plugin/batch-handler@1.0.0#process")
    (param $topic i32) (param $topic_len i32) (param $partition i32)
    (param $offsets i32) (param $n i32) (param $timestamps i32) (param $timestamps_len i32)
    (param $attempts i32) (param $attempts_len i32) (param $layout_in i32) (param $layout_in_len i32)
    (param $data i32) (param $data_len i32) (result i32)
    (local $i i32) (local $bad i32) (local $counts i32) (local $layout i32) (local $own i32)
    (local.set $bad (i32.const -1))
    (if (i32.eq (local.get $partition) (i32.const PARTITION)) (then
      (loop $next
        (if (i32.lt_u (local.get $i) (local.get $n)) (then
          (if (i64.eq (i64.load (i32.add (local.get $offsets) (i32.shl (local.get $i) (i32.const 3)))) (i64.const OFFSET))
            (then (local.set $bad (local.get $i))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next))))))
    (if (i32.ge_s (local.get $bad) (i32.const 0)) (then BEFORE))
    ;; One output a record, and of it everything as in the record; some room above for those who write too much.
    (local.set $counts (call $alloc (i32.add (i32.shl (local.get $n) (i32.const 2)) (i32.const 64))))
    (local.set $layout (call $alloc (i32.add (i32.mul (local.get $n) (i32.const 12)) (i32.const 64))))
    (local.set $i (i32.const 0))
    (loop $count
      (if (i32.lt_u (local.get $i) (local.get $n)) (then
        (i32.store (i32.add (local.get $counts) (i32.shl (local.get $i) (i32.const 2))) (i32.const 1))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $count))))
    (local.set $i (i32.const 0))
    (loop $fill
      (if (i32.lt_u (local.get $i) (i32.add (i32.mul (local.get $n) (i32.const 3)) (i32.const 16))) (then
        (i32.store (i32.add (local.get $layout) (i32.shl (local.get $i) (i32.const 2))) (i32.const -2))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $fill))))
    (memory.fill (global.get $answer) (i32.const 0) (i32.const 64))
    (call $list (global.get $counts_at) (local.get $counts) (local.get $n))
    (call $list (global.get $layout_at) (local.get $layout) (i32.mul (local.get $n) (i32.const 3)))
    (if (i64.ne (i64.const STAMP) (i64.const 0)) (then (call $stamp (i64.const STAMP) (local.get $n))))
    (local.set $own (i32.add (local.get $layout) (i32.mul (local.get $bad) (i32.const 12))))
    (if (i32.ge_s (local.get $bad) (i32.const 0)) (then AFTER))
    (global.get $answer)))
