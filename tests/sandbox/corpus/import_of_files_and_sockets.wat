;; expect: result: Imports sockets, which are there and never connect.
;; as: greedy
(import "wasi:sockets/tcp@0.2.6" "touch" (func))
