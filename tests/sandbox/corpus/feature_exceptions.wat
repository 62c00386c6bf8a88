;; expect: refused: An exception.
(tag $t)
(func (throw $t))
