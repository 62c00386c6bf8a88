;; expect: refused: Imports a function of the contract with other parameters.
(import "wasmill:plugin/log@1.0.0" "write" (func (param i64 f64)))
