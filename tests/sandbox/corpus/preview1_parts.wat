;; expect: result or timeout or trap: Prints 1,024 parts, each of which is the whole memory, again and again.
(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
(func $process (type $process)
  (local $at i32) (local $left i32)
  (drop (memory.grow (i32.const 800)))
  (local.set $at (i32.const 65536))
  (loop $fill
    (i32.store (local.get $at) (i32.const 0)) (i32.store offset=4 (local.get $at) (i32.const 50000000))
    (br_if $fill (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const 73728))))
  (local.set $left (i32.const 2000))
  (loop $again
    (drop (call $fd_write (i32.const 2) (i32.const 65536) (i32.const 1024) (i32.const 1024)))
    (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
  (call $nothing (local.get 4)))
