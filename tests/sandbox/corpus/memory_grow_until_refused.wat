;; expect: result or timeout: Takes memory page by page until it is refused, touches all of it, and goes on.
(func $process (type $process)
  (local $at i32)
  (loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
  (loop $touch
    (i32.store8 (local.get $at) (i32.load8_u (local.get $at)))
    (local.set $at (i32.add (local.get $at) (i32.const 4096)))
    (br_if $touch (i32.lt_u (local.get $at) (i32.mul (memory.size) (i32.const 65536)))))
  (call $nothing (local.get 4)))
