package wasmill

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

func hide(name, _ []byte) []byte {
	switch string(name) {
	case "a", "b\n", "c\x00", "\U0001f600":
		return []byte("null")
	}
	return nil
}

func TestOnlyTheValuesOfNamedMembersChange(t *testing.T) {
	for document, want := range map[string]string{
		`{"a":1,"c":2}`: `{"a":null,"c":2}`,
		` { "c" : 1.50e3 , "a" : {"a":[1, 2]} } `:  ` { "c" : 1.50e3 , "a" : null } `,
		`{"\u0061":"x","b\n":true,"a":"}"}`:        `{"\u0061":null,"b\n":null,"a":null}`,
		`{"c\u0000":1,"c":2,"\ud83d\uDE00":3}`:     `{"c\u0000":null,"c":2,"\ud83d\uDE00":null}`,
		`{"\ud83d":4,"\ude00\ud83d":5,"\ud83d":6}`: `{"\ud83d":4,"\ude00\ud83d":5,"\ud83d":6}`,
		`{"a":1,"a":2}`:         `{"a":null,"a":null}`,
		`{"c":{"a":1}}`:         `{"c":{"a":1}}`,
		`[{"a":1}]`:             `[{"a":1}]`,
		`"a"`:                   `"a"`,
		`{}`:                    `{}`,
		` { } `:                 ` { } `,
		`-0.0E-12`:              `-0.0E-12`,
		`[[],{},[{}],{"x":[]}]`: `[[],{},[{}],{"x":[]}]`,
		`{"c":"\ud800 \u0000","n":123456789012345678901234567890}`: `{"c":"\ud800 \u0000","n":123456789012345678901234567890}`,
	} {
		if is, err := Splice([]byte(document), hide); err != nil || string(is) != want {
			t.Errorf("%s became %s (%v) and not %s", document, is, err, want)
		}
	}
}

func TestWhatIsNotJSONIsRefusedWithItsPlace(t *testing.T) {
	for document, want := range map[string]string{
		"":                 "a value is missing, at byte 0",
		"{":                "a name is missing, at byte 1",
		`{"a":}`:           "a value is missing, at byte 5",
		`{"a":1,}`:         "a name is missing, at byte 7",
		`{"a":1}x`:         "more than one value, at byte 7",
		`{"a" 1}`:          "a colon is missing, at byte 5",
		`{"a":nul}`:        "an unknown word, at byte 5",
		"{\"c\":\"\x01\"}": "a control character in a string, at byte 6",
		"\"\x00\"":         "a control character in a string, at byte 1",
		`"\x"`:             "an unknown escape, at byte 1",
		`"\u12g4"`:         "an unknown escape, at byte 1",
		`"\u12`:            "an unknown escape, at byte 1",
		`"abc`:             "a string without an end, at byte 4",
		"01":               "more than one value, at byte 1",
		"1.":               "a digit is missing, at byte 2",
		"1e+":              "a digit is missing, at byte 3",
		"[1 2]":            noEnd + ", at byte 3",
		"[1}":              noEnd + ", at byte 2",
		"[1,]":             "a value is missing, at byte 3",
		"NaN":              "a value is missing, at byte 0",
		"\"\u00e9\xc3\"":   "bytes that are not UTF-8, at byte 3",
		"\"\xed\xa0\x80\"": "bytes that are not UTF-8, at byte 1",
		"\xef\xbb\xbf{}":   "a value is missing, at byte 0",
	} {
		if is, err := Splice([]byte(document), hide); err == nil || err.Error() != "not JSON: "+want {
			t.Errorf("%q became %s, %v and not %s", document, is, err, want)
		}
	}
}

func TestDepth(t *testing.T) {
	for _, pair := range [][2]string{{"[", "]"}, {`{"x":`, "}"}} {
		nested := func(levels int) []byte {
			return []byte(strings.Repeat(pair[0], levels) + "1" + strings.Repeat(pair[1], levels))
		}
		if err := CheckJSON(nested(128)); err != nil {
			t.Error(err)
		}
		for _, levels := range []int{129, 100_000} {
			if _, err := Splice(nested(levels), hide); err == nil || !strings.Contains(err.Error(), "nested more than 128 deep") {
				t.Errorf("%d levels: %v", levels, err)
			}
		}
	}
}

func TestADocumentIsDecodedExactlyOrRejected(t *testing.T) {
	var document any
	record := Record{Value: []byte(`{"n":123456789012345678901234567890,"e":2.5e735}`)}
	if err := record.JSON(&document); err != nil {
		t.Fatal(err)
	}
	fields := document.(map[string]any)
	if fields["n"] != json.Number("123456789012345678901234567890") || fields["e"] != json.Number("2.5e735") {
		t.Error(fields)
	}
	var number struct{ N int8 }
	for value, want := range map[string]string{
		// What follows differs between versions of Go.
		`{"n":300}`:        "json: cannot unmarshal number 300 into Go struct field",
		`{"n":1} 2`:        "not JSON: more than one value, at byte 8",
		"{\"x\":\"\xff\"}": "not JSON: bytes that are not UTF-8, at byte 6",
		strings.Repeat("[", 129) + strings.Repeat("]", 129): "not JSON: nested more than 128 deep, at byte 128",
	} {
		record.Value = []byte(value)
		var reject *RejectError
		if err := record.JSON(&number); !errors.As(err, &reject) || reject.Code != "bad-json" || !strings.HasPrefix(reject.Reason, want) {
			t.Errorf("%s: %v", value, err)
		}
	}
	if err := (&Record{}).JSON(&number); err == nil {
		t.Error("a tombstone is decoded")
	}
}

// Mutated documents: the scanner takes what encoding/json takes, and copies it. WASMILL_MUTATIONS is their number.
func TestItTakesTheSameDocumentsAsEncodingJSON(t *testing.T) {
	count, err := strconv.Atoi(os.Getenv("WASMILL_MUTATIONS"))
	if err != nil {
		count = 2000
	}
	whole := []string{
		`{"a":1,"c":[1,2.5e-3,-0,{"x":null}],"text":"a \u00e9 \"quoted\" \\ text that is longer than eight"}`,
		` [ { } , [ ] , "\ud800" , true , false , 1E+5 , 0.0 ] `,
		"\"\u00e9\U0001f600 and more bytes\"",
		"-12345678901234567890",
		`{"c":` + strings.Repeat("[", 120) + "1" + strings.Repeat("]", 120) + "}",
	}
	const alphabet = "{}[]\",:\\ \n\t0123456789.eE+-truefalsn\x00\x1f\x7f/u\xc3\xa9"
	random := rand.New(rand.NewPCG(1, 2))
	taken := 0
	for round := range count {
		document := []byte(whole[round%len(whole)])
		for range random.IntN(4) {
			at, char := random.IntN(len(document)), alphabet[random.IntN(len(alphabet))]
			switch random.IntN(3) {
			case 0:
				document[at] = char
			case 1:
				document = append(document[:at], append([]byte{char}, document[at:]...)...)
			default:
				document = append(document[:at], document[at+1:]...)
			}
		}
		is, err := Splice(document, func(_, _ []byte) []byte { return nil })
		if want := json.Valid(document) && utf8.Valid(document); (err == nil) != want {
			t.Fatalf("%q: %v, and encoding/json takes it: %v", document, err, want)
		}
		if err == nil && !bytes.Equal(is, document) {
			t.Fatalf("%q became %q", document, is)
		}
		if err == nil {
			taken++
		}
	}
	if taken < count/5 {
		t.Fatalf("of %d documents %d are JSON", count, taken)
	}
}
