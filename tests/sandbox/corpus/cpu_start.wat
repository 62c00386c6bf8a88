;; expect: timeout: Loops in its start function.
(func $begin (loop (br 0)))
(start $begin)
