;; expect: timeout: Loops in `_initialize`.
(func (export "_initialize") (loop (br 0)))
