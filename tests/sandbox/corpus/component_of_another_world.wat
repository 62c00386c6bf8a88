;; expect: refused: A component that exports something else.
;; as: file
(component (core module (func $begin (loop (br 0))) (start $begin)))
