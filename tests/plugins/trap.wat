;; Traps in a function with a name.
(func $give_up unreachable)
(func $process (type $process) (call $give_up) (i32.const 0))
