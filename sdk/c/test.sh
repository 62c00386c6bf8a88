#!/bin/sh
# Tests the SDK for C and the plugin examples/mask-c: natively, and with the program WASMILL (`wasmill` by default).
#
# Needs clang-19 and lld-19, Python 3, and a C compiler CC (`cc` by default). WASMILL_MUTATIONS is the number of documents.
set -eu
cd "$(dirname "$0")/../.."
wasmill=${WASMILL:-wasmill}
cc=${CC:-cc}
made=${TMPDIR:-/tmp}/wasmill-sdk-c.$$
mkdir "$made"
trap 'rm -rf "$made"' EXIT

sanitize="-fsanitize=address,undefined -fno-sanitize-recover"
echo 'int main(void) { return 0; }' > "$made/empty.c"
# shellcheck disable=SC2086
if ! { $cc $sanitize "$made/empty.c" -o "$made/empty" && "$made/empty"; } 2> "$made/refusal"; then
    echo "$cc has no sanitizers: bytes beyond a block go unnoticed" >&2
    sanitize=
fi
for test in wasmill_test json_test mutations; do
    # shellcheck disable=SC2086
    $cc -std=c11 -Wall -Wextra -Wpedantic -Werror -O1 -g $sanitize -Isdk/c "sdk/c/tests/$test.c" -o "$made/$test"
done
"$made/wasmill_test"
"$made/json_test"
sdk/mutations.py --native "$made/mutations"

cd examples/mask-c
"$wasmill" build
"$wasmill" test pipeline.toml
"$wasmill" conformance mask.wasm --port audit
../../sdk/mutations.py "$wasmill" pipeline.toml
