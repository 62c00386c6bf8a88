;; expect: result: A manifest whose name and version are escape sequences and newlines.
(@custom "wasmill:manifest" "{\"name\":\"\\u001b]0;x\\u0007\\n\",\"version\":\"\\n\\n1\"}")
