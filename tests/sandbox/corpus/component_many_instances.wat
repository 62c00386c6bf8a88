;; expect: memory or refused: A thousand instances of a module, where 64 are allowed.
;; as: component
(core module $x_extra)
(;repeat 1000;)(core instance (instantiate $x_extra))(;end;)
