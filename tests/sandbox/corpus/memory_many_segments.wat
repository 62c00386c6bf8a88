;; expect: result: Twenty thousand data segments.
;; as: module
(;repeat 20000;)(data (i32.const 64) "x")(;end;)
