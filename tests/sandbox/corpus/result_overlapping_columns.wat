;; expect: bad-output: All seven lists are the same 40 MB.
(func $process (type $process)
  (drop (memory.grow (i32.const 800)))
  (i32.store8 (i32.const 0) (i32.const 0))
  (;repeat 7;)(i32.store (i32.add (i32.const 4) (i32.mul (i32.const 8) (i32.const (;i;)))) (i32.const 65536))
  (i32.store (i32.add (i32.const 8) (i32.mul (i32.const 8) (i32.const (;i;)))) (i32.const 1600000))(;end;)
  (i32.const 0))
