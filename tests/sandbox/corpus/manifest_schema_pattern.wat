;; expect: result: A manifest whose schema has references that lead back to themselves, and a pattern that takes exponential time elsewhere.
(@custom "wasmill:manifest" "{\"name\":\"x\",\"settings\":{\"$ref\":\"#\",\"pattern\":\"^(a+)+$\",\"allOf\":[{\"$ref\":\"#\"},{\"$ref\":\"#\"}]}}")
