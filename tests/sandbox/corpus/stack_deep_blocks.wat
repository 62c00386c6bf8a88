;; expect: result or refused: A function with 5,000 blocks in each other.
(func $process (type $process)
  (;repeat 5000;) block (;end;)
  (;repeat 5000;) end (;end;)
  (call $nothing (local.get 4)))
