;; expect: result or refused: Imports sockets. A component gets them, and they never connect; a core module does not.
;; as: greedy
(import "wasi:sockets/tcp@0.2.6" "touch" (func))
