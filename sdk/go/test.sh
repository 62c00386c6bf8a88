#!/bin/sh
# Tests the SDK for Go and the plugin examples/mask-go: natively, and with the program WASMILL (`wasmill` by default).
#
# Needs Go 1.24 and Python 3, and no network. WASMILL_MUTATIONS is the number of documents.
set -eu
cd "$(dirname "$0")"
wasmill=${WASMILL:-wasmill}
# Neither the SDK nor the example has a dependency to download.
export GOFLAGS=-mod=mod GOPROXY=off GOTOOLCHAIN=local

unformatted=$(gofmt -l . ../../examples/mask-go)
if [ -n "$unformatted" ]; then
    echo "gofmt would change: $unformatted" >&2
    exit 1
fi
for module in . ../../examples/mask-go; do
    (cd "$module" && go vet ./... && go test ./...)
done

cd ../../examples/mask-go
cmp pipeline.test.toml ../mask-c/pipeline.test.toml
"$wasmill" build
"$wasmill" test pipeline.toml
"$wasmill" conformance mask.wasm --port audit
../../sdk/mutations.py "$wasmill" pipeline.toml
