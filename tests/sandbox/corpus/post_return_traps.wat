;; expect: trap: The function that frees a result traps.
;; in post-return: unreachable

