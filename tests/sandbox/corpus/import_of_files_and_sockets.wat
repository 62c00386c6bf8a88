;; expect: refused: Imports sockets.
;; as: greedy
(import "wasi:sockets/tcp@0.2.6" "touch" (func))
