;; Emits COPIES outputs for each record, all as the record came, and PORT says to which port each goes: $copy is the output's number, and
;; $byte the second byte of the record's key, 0 without one.
(func $init (param i32 i32 i32 i32) (result i32)
  (i32.store8 (i32.const 0) (i32.const 0))
  (i32.const 0))
(func $length (param $at i32) (result i32)
  (select (i32.load (local.get $at)) (i32.const 0) (i32.gt_s (i32.load (local.get $at)) (i32.const 0))))
(func $process (type $process)
  (local $record i32) (local $copy i32) (local $byte i32) (local $layout i32) (local $data i32) (local $headers i32)
  (local $ports i32) (local $port i32) (local $outputs i32) (local $lengths i32)
  (local.set $outputs (i32.mul (local.get 4) (i32.const COPIES)))
  (local.set $ports (call $array (local.get $outputs) (i32.const 0)))
  (local.set $port (local.get $ports))
  (local.set $layout (local.get 9))
  (local.set $data (local.get 11))
  (loop $next
    (if (i32.lt_u (local.get $record) (local.get 4)) (then
      ;; The key, then the value, then the headers' names and values; -1 is null.
      (local.set $byte (i32.const 0))
      (if (i32.gt_s (i32.load (local.get $layout)) (i32.const 1)) (then
        (local.set $byte (i32.load8_u offset=1 (local.get $data)))))
      (local.set $data (i32.add (local.get $data) (call $length (local.get $layout))))
      (local.set $data (i32.add (local.get $data) (call $length (i32.add (local.get $layout) (i32.const 4)))))
      (local.set $headers (i32.shl (call $length (i32.add (local.get $layout) (i32.const 8))) (i32.const 1)))
      (local.set $layout (i32.add (local.get $layout) (i32.const 12)))
      (loop $header
        (if (local.get $headers) (then
          (local.set $data (i32.add (local.get $data) (call $length (local.get $layout))))
          (local.set $layout (i32.add (local.get $layout) (i32.const 4)))
          (local.set $headers (i32.sub (local.get $headers) (i32.const 1)))
          (br $header))))
      (local.set $copy (i32.const 0))
      (loop $output
        (if (i32.lt_u (local.get $copy) (i32.const COPIES)) (then
          (i32.store (local.get $port) PORT)
          (local.set $port (i32.add (local.get $port) (i32.const 4)))
          (local.set $copy (i32.add (local.get $copy) (i32.const 1)))
          (br $output))))
      (local.set $record (i32.add (local.get $record) (i32.const 1)))
      (br $next))))
  (local.set $lengths (i32.mul (local.get $outputs) (i32.const 3)))
  (drop (call $outcome
    (call $array (local.get 4) (i32.const COPIES)) (local.get 4)
    (call $array (local.get $lengths) (i32.const -2)) (local.get $lengths)
    (i32.const 0) (i32.const 0)))
  (i32.store (i32.const 12) (local.get $ports))
  (i32.store (i32.const 16) (local.get $outputs))
  (i32.const 0))
