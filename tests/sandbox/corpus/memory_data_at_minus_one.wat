;; expect: trap: A data segment at the last address there is.
(data (i32.const -1) "x")
