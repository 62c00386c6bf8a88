;; expect: timeout: One of its instances loops in its start function.
;; as: component
(core module $x_extra (func $begin (loop (br 0))) (start $begin))
(core instance (instantiate $x_extra))
