;; expect: trap: Recurses until the stack is full.
(func $deeper (call $deeper) (call $deeper))
(func $process (type $process)
  (call $deeper) unreachable)
