;; expect: refused or result: A manifest with numbers that no computer has.
(@custom "wasmill:manifest" "{\"name\":\"x\",\"state\":{\"version\":1e999999,\"reads\":[-1,18446744073709551616]}}")
