;; expect: timeout: Loops in `init`.
(func $init (param i32 i32 i32 i32) (result i32) (loop (br 0)) unreachable)
