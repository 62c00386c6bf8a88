;; expect: refused: Imports a function that nothing provides.
(import "env" "system" (func (param i32) (result i32)))
