;; expect: timeout: Loops in the function that frees a result.
;; in post-return: (loop (br 0))

