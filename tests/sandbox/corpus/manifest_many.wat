;; expect: refused or result: A thousand manifests.
;; as: module
(;repeat 1000;)(@custom "wasmill:manifest" "{\"name\":\"m(;i;)\"}")(;end;)
