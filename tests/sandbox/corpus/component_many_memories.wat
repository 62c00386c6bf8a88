;; expect: memory or refused: Instances with memories of their own, together above the limits.
;; as: component
(core module $x_extra (memory 300))
(;repeat 40;)(core instance (instantiate $x_extra))(;end;)
