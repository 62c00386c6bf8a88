;; expect: memory: Ninety memories of a page, where four are allowed.
(;repeat 90;)(memory 1)(;end;)
