;; expect: trap: The function that traps has a name of 90,000 characters, with escape sequences of a terminal.
;; as: module
(func $f (@name "\1b[2J\0a(;repeat 90000;)x(;end;)") unreachable)
(func $process (type $process)
  (call $f) unreachable)
