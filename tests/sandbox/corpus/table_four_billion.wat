;; expect: memory: A table with four billion entries.
(table 0xffffffff funcref)
