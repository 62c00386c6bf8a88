;; expect: refused: A type of the garbage collector.
(type (struct (field i32)))
