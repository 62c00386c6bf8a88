;; expect: memory: Three memories, each below the limit, together above it.
(memory 400) (memory 400) (memory 400)
