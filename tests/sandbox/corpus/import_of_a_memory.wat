;; expect: refused: Imports a memory.
(import "env" "memory" (memory $theirs 1))
