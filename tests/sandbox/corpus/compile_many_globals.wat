;; expect: result or refused: Fifty thousand globals.
;; as: module
(;repeat 50000;)(global i64 (i64.const (;i;)))(;end;)
