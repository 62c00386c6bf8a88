;; expect: result or refused: Fifty thousand exports of one function.
;; as: module
(func $f)
(;repeat 50000;)(export "f(;i;)" (func $f))(;end;)
