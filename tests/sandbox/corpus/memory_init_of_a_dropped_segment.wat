;; expect: trap: Copies from a data segment that it has dropped.
(data $d "0123456789")
(func $process (type $process)
  (data.drop $d)
  (memory.init $d (i32.const 0) (i32.const 0) (i32.const 10))
  unreachable)
