;; expect: refused: A manifest whose schema has 20,000 levels.
;; as: module
(@custom "wasmill:manifest" "{\"name\":\"x\",\"settings\":(;repeat 20000;){\"not\":(;end;){}(;repeat 20000;)}(;end;)}")
