// Command mask is a plugin that hides members of JSON objects: those of the outermost object that the setting `fields` names, `email`,
// `phone` and `name` by default.
//
// Everything else stays byte for byte. Tombstones are forwarded. A value that isn't JSON is rejected with the code `bad-json`, so that
// personal data can't pass unmasked. Records with a header `audit` are also sent unmasked to the port `audit`, if the pipeline has it.
package main

import (
	"encoding/json"
	"slices"

	"wasmill.dev/sdk/go"
)

var stars = []byte(`"***"`)

func init() {
	wasmill.Plugin(mask)
}

func main() {}

func mask(settings []byte, ports []string) (wasmill.Process, error) {
	chosen := struct{ Fields []string }{[]string{"email", "phone", "name"}}
	if err := json.Unmarshal(settings, &chosen); err != nil {
		return nil, err
	}
	audit := slices.Index(ports, "audit")
	hide := func(name, _ []byte) []byte {
		for _, field := range chosen.Fields {
			if string(name) == field {
				return stars
			}
		}
		return nil
	}
	return func(record *wasmill.Record, out *wasmill.Out) error {
		if _, found := record.Header("audit"); found && audit >= 0 {
			out.Forward(audit)
		}
		if record.Value == nil {
			out.Forward(wasmill.Main)
			return nil
		}
		masked, err := record.Splice(hide)
		if err != nil {
			return err
		}
		out.Send(wasmill.Main, masked)
		return nil
	}, nil
}
