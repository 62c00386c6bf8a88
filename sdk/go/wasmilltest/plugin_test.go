package wasmilltest_test

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"wasmill.dev/sdk/go"
	"wasmill.dev/sdk/go/wasmilltest"
)

var ports = []string{"main", "audit", "else"}

// scripted does what a record's value says.
func scripted(settings []byte, ports []string) (wasmill.Process, error) {
	switch string(settings) {
	case "wrong":
		return nil, errors.New("the settings are wrong")
	case "panic":
		panic("at the start")
	}
	wasmill.Log(wasmill.Info, "started\xff")
	return func(record *wasmill.Record, out *wasmill.Out) error {
		switch string(record.Value) {
		case "forward":
			out.Forward(wasmill.Main)
		case "twice":
			out.Forward(1)
			out.Send(wasmill.Main, nil)
		case "all":
			timestamp, partition := int64(0), int32(7)
			text := fmt.Sprint(record.Topic, record.Partition, record.Offset, record.Timestamp, record.Attempt)
			out.Emit(wasmill.Output{
				Port: 2, Key: wasmill.Bytes([]byte("new")), Value: wasmill.Bytes([]byte(text)), Timestamp: &timestamp, Partition: &partition,
				Headers: []wasmill.Header{{Name: "a", Value: []byte{}}, {Name: "b"}},
			})
		case "plain":
			out.Emit(wasmill.Output{})
			out.Emit(wasmill.Output{Key: wasmill.Null, Headers: []wasmill.Header{}})
		case "json":
			return out.JSON(wasmill.Main, map[string]any{"b": "<&>", "a": math.MaxInt64})
		case "no json":
			out.Forward(wasmill.Main)
			return out.JSON(wasmill.Main, math.NaN())
		case "reject":
			wasmill.Count("rejected", 1)
			out.Forward(2)
			return fmt.Errorf("order 7: %w", wasmill.Reject("no-good", "it is no good"))
		case "retry":
			return wasmill.Retry("later", 0)
		case "retry after":
			return wasmill.Retry("later", 1500*time.Microsecond)
		case "error":
			return errors.New("not \xff text")
		case "panic":
			out.Forward(1)
			panic(errors.New("at random"))
		case "index":
			_ = record.Key[len(ports)]
		case "nil":
			var out *wasmill.Out
			out.Forward(1)
		case "library":
			_ = strings.Repeat("x", -len(ports))
		case "header":
			value, found := record.Header("h")
			out.Send(wasmill.Main, fmt.Appendf(nil, "%q %v %q", value, found, record.Headers()))
		case "count":
			wasmill.Count("most", math.MaxUint64-1)
			wasmill.Count("most", 7)
			wasmill.Count("one", 1)
			wasmill.Observe("seconds", 0.5)
			wasmill.Observe("seconds", 0.25)
		}
		return nil
	}, nil
}

func run(t *testing.T, value string) wasmilltest.Result {
	t.Helper()
	return wasmilltest.New(t, scripted, "{}", ports...).Run(wasmilltest.Value(value))[0]
}

func check(t *testing.T, is, want any) {
	t.Helper()
	if !reflect.DeepEqual(is, want) {
		t.Errorf("%#v and not %#v", is, want)
	}
}

func TestOutputsAreAsTheInputExceptForWhatIsSet(t *testing.T) {
	key, value := []byte("k"), func(text string) []byte { return []byte(text) }
	headers := []wasmill.Header{{Name: "h", Value: value("1")}}
	input := wasmilltest.Input{Key: key, Value: value("twice"), Headers: headers, Timestamp: 5}
	plugin := wasmilltest.New(t, scripted, "{}", ports...)
	check(t, plugin.Run(input)[0], wasmilltest.Result{Outputs: []wasmilltest.Output{
		{Port: "audit", Key: key, Value: value("twice"), Headers: headers, Timestamp: 5, Partition: -1},
		{Port: "main", Key: key, Headers: headers, Timestamp: 5, Partition: -1},
	}})
	input.Value = value("plain")
	check(t, plugin.Run(input)[0], wasmilltest.Result{Outputs: []wasmilltest.Output{
		{Port: "main", Key: key, Value: value("plain"), Headers: headers, Timestamp: 5, Partition: -1},
		{Port: "main", Value: value("plain"), Headers: []wasmill.Header{}, Timestamp: 5, Partition: -1},
	}})
	input.Value = value("all")
	input.Attempt = 4
	check(t, plugin.Run(input)[0], wasmilltest.Result{Outputs: []wasmilltest.Output{{
		Port: "else", Key: value("new"), Value: value("topic3 2 5 4"), Timestamp: 0, Partition: 7,
		Headers: []wasmill.Header{{Name: "a", Value: []byte{}}, {Name: "b"}},
	}}})
	check(t, run(t, "nothing"), wasmilltest.Result{})
	check(t, string(run(t, "json").Outputs[0].Value), `{"a":9223372036854775807,"b":"<&>"}`)
}

func TestTheLastHeaderOfANameCounts(t *testing.T) {
	input := wasmilltest.Value("header")
	plugin := wasmilltest.New(t, scripted, "{}", ports...)
	check(t, string(plugin.Run(input)[0].Outputs[0].Value), `"" false []`)
	input.Headers = []wasmill.Header{{Name: "h", Value: []byte("1")}, {Name: "\xff", Value: []byte("2")}}
	check(t, string(plugin.Run(input)[0].Outputs[0].Value), `"1" true [{"h" "1"} {"\xff" "2"}]`)
	input.Headers = append(input.Headers, wasmill.Header{Name: "h"})
	check(t, string(plugin.Run(input)[0].Outputs[0].Value), `"" true [{"h" "1"} {"\xff" "2"} {"h" ""}]`)
	// The record behind one with headers is read from the right place.
	results := plugin.Run(input, wasmilltest.Value("forward"))
	check(t, string(results[1].Outputs[0].Value), "forward")
}

func TestAFailedRecordTakesBackItsOwnOutputsOnly(t *testing.T) {
	var inputs []wasmilltest.Input
	for _, value := range []string{"forward", "reject", "forward", "twice", "panic", "retry", "no json", "all"} {
		inputs = append(inputs, wasmilltest.Value(value))
	}
	plugin := wasmilltest.New(t, scripted, "{}", ports...)
	results := plugin.Run(inputs...)
	counts := make([]int, len(results))
	for i, result := range results {
		counts[i] = len(result.Outputs)
	}
	check(t, counts, []int{1, 0, 1, 2, 0, 0, 0, 1})
	check(t, results[3].Outputs[0].Port, "audit")
	check(t, results[1].Err, wasmill.Reject("no-good", "order 7: it is no good"))
	check(t, results[5].Err, wasmill.Retry("later", 0))
	check(t, results[6].Err, wasmill.Reject("error", "json: unsupported value: NaN"))
	check(t, plugin.Counts(), map[string]uint64{"rejected": 1})
	// Rounded up to whole milliseconds.
	check(t, run(t, "retry after").Err, wasmill.Retry("later", 2*time.Millisecond))
	check(t, run(t, "error").Err, wasmill.Reject("error", "not \ufffd text"))
}

func TestAPanicIsARejectWithItsPlace(t *testing.T) {
	for value, parts := range map[string][]string{
		"panic":   {"panic: at random, at plugin_test.go:", "scripted"},
		"index":   {"index out of range [3] with length 0, at plugin_test.go:"},
		"nil":     {"nil pointer dereference, at out.go:", "plugin_test.go:"},
		"library": {"strings: negative Repeat count, at strings.go:", "plugin_test.go:"},
	} {
		var reject *wasmill.RejectError
		if err := run(t, value).Err; !errors.As(err, &reject) || reject.Code != "exception" {
			t.Fatalf("%s: %v", value, err)
		}
		for _, part := range parts {
			if !strings.Contains(reject.Reason, part) {
				t.Errorf("%s: %q is not in %q", value, part, reject.Reason)
			}
		}
		if strings.Contains(reject.Reason, "run.go") {
			t.Errorf("%s: the SDK's frames are in %q", value, reject.Reason)
		}
	}
}

func TestErrorsOfTheStartAreReturned(t *testing.T) {
	_, err := wasmilltest.Start(t, scripted, "wrong", ports...)
	check(t, err.Error(), "the settings are wrong")
	_, err = wasmilltest.Start(t, scripted, "panic", ports...)
	if !strings.Contains(err.Error(), "panic: at the start, at plugin_test.go:") {
		t.Error(err)
	}
}

func TestLogAndMetrics(t *testing.T) {
	plugin := wasmilltest.New(t, scripted, "{}", ports...)
	check(t, plugin.Logged(wasmill.Info, "started\ufffd"), true)
	plugin.Run(wasmilltest.Value("count"), wasmilltest.Value("count"))
	check(t, plugin.Counts(), map[string]uint64{"most": math.MaxUint64, "one": 2})
	check(t, plugin.Observed(), map[string][]float64{"seconds": {0.5, 0.25, 0.5, 0.25}})
	plugin.Run(wasmilltest.Value("forward"))
	check(t, plugin.Counts()["one"], uint64(2))
}
