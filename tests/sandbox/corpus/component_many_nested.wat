;; expect: result or refused: Ten thousand empty components beside each other.
;; as: component
(;repeat 10000;)(component)(;end;)
