;; Recurses without end.
(func $deeper (call $deeper) (call $deeper))
(func $process (type $process) (call $deeper) (i32.const 0))
