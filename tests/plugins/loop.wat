;; Never returns.
(func $process (type $process) (loop (br 0)) unreachable)
