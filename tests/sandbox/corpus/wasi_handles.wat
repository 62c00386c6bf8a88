;; expect: bad-output: Opens a stream again and again, and closes none.
;; as: runtime
(import "wasi:cli/stdout@0.2.6" "get-stdout" (func $stdout (result i32)))
(func $process (type $process)
  (loop $again (drop (call $stdout)) (br $again)) unreachable)
