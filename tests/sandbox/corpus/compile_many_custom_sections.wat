;; expect: result: Ten thousand custom sections.
;; as: module
(;repeat 10000;)(@custom "n(;i;)" "x")(;end;)
