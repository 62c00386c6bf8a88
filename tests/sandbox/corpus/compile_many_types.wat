;; expect: result or refused: Sixty thousand types.
;; as: module
(;repeat 60000;)(type (func (param i32 i32 i32) (result i64)))(;end;)
