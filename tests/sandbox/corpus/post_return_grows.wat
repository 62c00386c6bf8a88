;; expect: result: The function that frees a result takes all memory.
;; in post-return: (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))

