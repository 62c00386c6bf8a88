;; expect: refused: A table of references to values of the host.
(table 10 externref)
