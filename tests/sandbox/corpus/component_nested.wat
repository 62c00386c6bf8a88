;; expect: result or refused: Sixty components in each other, as many as the text format takes.
;; as: component
(;repeat 60;)(component(;end;)(;repeat 60;))(;end;)
