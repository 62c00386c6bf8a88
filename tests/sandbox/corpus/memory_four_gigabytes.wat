;; expect: memory: A memory that has 4 GiB at once.
(memory 65536)
