;; expect: refused: A function with more locals than there may be.
;; as: module
(func (local (;repeat 50001;) i32 (;end;)))
