;; expect: refused: Imports the flag with which the host stops a call, by its name.
(import "wasmill:host" "deadline" (memory $flag 0 1 shared))
