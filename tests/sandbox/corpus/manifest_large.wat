;; expect: refused: A manifest of 300 KB.
;; as: module
(@custom "wasmill:manifest" "{\"name\":\"(;repeat 300000;)x(;end;)\"}")
