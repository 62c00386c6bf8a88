;; Never gets to its first call.
(func $spin (loop (br 0)))
(start $spin)
(func $process (type $process) (i32.const 0))
