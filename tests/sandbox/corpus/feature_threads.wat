;; expect: refused: A shared memory.
(memory 1 1 shared)
