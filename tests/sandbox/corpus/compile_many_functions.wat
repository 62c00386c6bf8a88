;; expect: result or refused: Fifty thousand functions.
;; as: module
(;repeat 50000;)(func)(;end;)
