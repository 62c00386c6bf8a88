package main

import (
	"errors"
	"testing"

	"wasmill.dev/sdk/go"
	"wasmill.dev/sdk/go/wasmilltest"
)

func TestHidesTheChosenFields(t *testing.T) {
	plugin := wasmilltest.New(t, mask, `{"fields":["email"]}`, "main", "audit")
	input := wasmilltest.Value(`{"email":"a@b.c", "phone":1}`)
	input.Headers = []wasmill.Header{{Name: "audit", Value: []byte{}}}
	outputs := plugin.Run(input)[0].Outputs
	if len(outputs) != 2 || outputs[0].Port != "audit" || string(outputs[0].Value) != `{"email":"a@b.c", "phone":1}` {
		t.Fatal(outputs)
	}
	if outputs[1].Port != "main" || string(outputs[1].Value) != `{"email":"***", "phone":1}` {
		t.Fatal(outputs[1])
	}
}

func TestRejectsWhatIsNotJSON(t *testing.T) {
	result := wasmilltest.New(t, mask, `{}`, "main").Run(wasmilltest.Value(`{"email":`))[0]
	var reject *wasmill.RejectError
	if !errors.As(result.Err, &reject) || reject.Code != "bad-json" || len(result.Outputs) > 0 {
		t.Fatal(result)
	}
}

func TestRefusesWrongSettings(t *testing.T) {
	if _, err := wasmilltest.Start(t, mask, `{"fields":"email"}`, "main"); err == nil {
		t.Fatal("a text is taken as a list")
	}
}
