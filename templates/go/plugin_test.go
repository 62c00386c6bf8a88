package main

import (
	"testing"

	"wasmill.dev/sdk/go/wasmilltest"
)

func TestAValueGetsThePrefix(t *testing.T) {
	results := wasmilltest.New(t, prefix, `{"prefix":"> "}`, "main").Run(wasmilltest.Value("hello"), wasmilltest.Value("\xff"))
	if outputs := results[0].Outputs; len(outputs) != 1 || string(outputs[0].Value) != "> hello" {
		t.Fatal(outputs)
	}
	if results[1].Err == nil {
		t.Fatal("bytes that are no text pass")
	}
}
