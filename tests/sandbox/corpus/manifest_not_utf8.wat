;; expect: refused: A manifest that is not UTF-8.
(@custom "wasmill:manifest" "{\"name\":\"\ff\fe\"}")
