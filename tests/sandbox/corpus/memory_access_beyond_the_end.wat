;; expect: trap: Reads at 4 GiB + 4 GiB.
(func $process (type $process)
  (i64.load offset=4294967295 (i32.const -1)) unreachable)
