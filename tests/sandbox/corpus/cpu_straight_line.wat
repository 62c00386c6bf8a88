;; expect: timeout: A line of code without a loop that fills 32 MiB again and again.
;; as: module
(func $process (type $process)
  (drop (memory.grow (i32.const 512)))
  (;repeat 4000;)(memory.fill (i32.const 131072) (i32.const (;i;)) (i32.const 33554432))(;end;)
  (call $nothing (local.get 4)))
