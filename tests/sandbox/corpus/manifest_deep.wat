;; expect: refused: A manifest with 100,000 brackets that open.
;; as: module
(@custom "wasmill:manifest" "(;repeat 100000;)[(;end;)")
