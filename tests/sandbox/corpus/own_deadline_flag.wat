;; expect: result or refused: Exports and globals with names that the host uses for its own.
(global (export "deadline") (mut i32) (i32.const 0))
(export "wasmill:host" (func $process))
