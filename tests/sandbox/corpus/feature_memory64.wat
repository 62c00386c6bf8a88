;; expect: refused: A memory with addresses of 64 bits.
(memory i64 1)
