// Command NAME is a plugin that puts a prefix before every value. Change it to what you need.
//
// Tombstones are forwarded unchanged; a value that is not text is rejected with the code `bad-text`.
package main

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"wasmill.dev/sdk/go"
)

func init() {
	wasmill.Plugin(prefix)
}

func main() {}

// prefix is called once. Its error keeps the pipeline from starting. The function that it returns is called for each record.
func prefix(settings []byte, ports []string) (wasmill.Process, error) {
	var chosen struct{ Prefix string }
	decoder := json.NewDecoder(bytes.NewReader(settings))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&chosen); err != nil {
		return nil, err
	}
	return func(record *wasmill.Record, out *wasmill.Out) error {
		if record.Value == nil {
			out.Forward(wasmill.Main)
			return nil
		}
		if !utf8.Valid(record.Value) {
			return wasmill.Reject("bad-text", "the value is not UTF-8")
		}
		out.Send(wasmill.Main, append([]byte(chosen.Prefix), record.Value...))
		return nil
	}, nil
}
