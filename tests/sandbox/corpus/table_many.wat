;; expect: memory: Ninety tables, where sixteen are allowed.
(;repeat 90;)(table 1 funcref)(;end;)
