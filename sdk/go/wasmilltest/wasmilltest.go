// Package wasmilltest runs a plugin in a test, natively, without a host and without WebAssembly. Records pass through the same columns
// as in the host.
//
//	func TestHidesTheEmail(t *testing.T) {
//		plugin := wasmilltest.New(t, mask, `{"fields":["email"]}`, "main", "audit")
//		result := plugin.Run(wasmilltest.Value(`{"email":"a@b.c"}`))[0]
//		if result.Err != nil || string(result.Outputs[0].Value) != `{"email":"***"}` {
//			t.Fatal(result)
//		}
//	}
//
// Only one plugin is tested at a time: what is logged and counted is collected in one place.
package wasmilltest

import (
	"testing"
	"time"

	"wasmill.dev/sdk/go"
	"wasmill.dev/sdk/go/internal/columns"
	"wasmill.dev/sdk/go/internal/host"
)

// Input is a record to run.
type Input struct {
	Key, Value []byte
	Headers    []wasmill.Header
	// Timestamp in milliseconds since 1970-01-01 UTC; -1 is none.
	Timestamp int64
	Attempt   uint32
}

// Value is a record with this value, the null key, and without headers and a timestamp.
func Value(value string) Input {
	return Input{Value: []byte(value), Timestamp: -1}
}

// Output is what the plugin emitted, with the input's key, value, headers and timestamp where the plugin left them as they were.
type Output struct {
	Port       string
	Key, Value []byte
	Headers    []wasmill.Header
	// Timestamp of -1 is none.
	Timestamp int64
	// Partition of -1 leaves it to the output's partitioner.
	Partition int32
}

// Result is what became of a record. Err is a *wasmill.RejectError or a *wasmill.RetryError, or nil.
type Result struct {
	Outputs []Output
	Err     error
}

// Plugin is a plugin under test.
type Plugin struct {
	t     testing.TB
	run   columns.Run
	ports []string
	next  int64
}

// Start makes a plugin with settings and the names of the ports, the default port first. It returns the plugin's error.
func Start(t testing.TB, create wasmill.Factory, settings string, ports ...string) (*Plugin, error) {
	host.Reset()
	run, err := columns.Start(create, []byte(settings), ports)
	if err != nil {
		return nil, err
	}
	return &Plugin{t: t, run: run, ports: ports}, nil
}

// New makes a plugin as [Start] does, and fails the test if the plugin returns an error.
func New(t testing.TB, create wasmill.Factory, settings string, ports ...string) *Plugin {
	t.Helper()
	plugin, err := Start(t, create, settings, ports...)
	if err != nil {
		t.Fatalf("the plugin doesn't start: %v", err)
	}
	return plugin
}

// Run runs records in one call, from partition 3 of the topic `topic`, and returns a result for each. It fails the test if the host would
// refuse what the plugin returns.
func (p *Plugin) Run(inputs ...Input) []Result {
	p.t.Helper()
	var batch columns.Batch
	field := func(bytes []byte) {
		if bytes == nil {
			batch.Layout = append(batch.Layout, -1)
			return
		}
		batch.Layout = append(batch.Layout, int32(len(bytes)))
		batch.Data = append(batch.Data, bytes...)
	}
	batch.Data = []byte{}
	for _, input := range inputs {
		batch.Offsets = append(batch.Offsets, p.next)
		p.next++
		batch.Timestamps = append(batch.Timestamps, input.Timestamp)
		batch.Attempts = append(batch.Attempts, input.Attempt)
		field(input.Key)
		field(input.Value)
		batch.Layout = append(batch.Layout, int32(len(input.Headers)))
		for _, header := range input.Headers {
			field([]byte(header.Name))
			field(header.Value)
		}
	}
	outcome := p.run("topic", 3, batch)
	// The plugin must not keep the record's bytes.
	clear(batch.Data)
	return p.results(inputs, outcome)
}

// results splits an outcome, as the host does.
func (p *Plugin) results(inputs []Input, outcome columns.Outcome) []Result {
	p.t.Helper()
	if len(outcome.Counts) != len(inputs) {
		p.t.Fatalf("%d counts for %d records", len(outcome.Counts), len(inputs))
	}
	r := reader{p.t, outcome.Layout, outcome.Data}
	results := make([]Result, len(inputs))
	number := 0
	for i, input := range inputs {
		for range outcome.Counts[i] {
			results[i].Outputs = append(results[i].Outputs, p.output(&r, input, outcome, number))
			number++
		}
	}
	if len(r.layout) > 0 || len(r.data) > 0 {
		p.t.Fatalf("%d lengths and %d bytes are left over", len(r.layout), len(r.data))
	}
	for _, failed := range outcome.Failures {
		result := &results[failed.Index]
		if len(result.Outputs) > 0 || result.Err != nil {
			p.t.Fatalf("record %d has failed and has outputs, or has failed twice", failed.Index)
		}
		if failed.IsRetry {
			result.Err = wasmill.Retry(failed.Reason, time.Duration(failed.DelayMs)*time.Millisecond)
		} else {
			result.Err = wasmill.Reject(failed.Code, failed.Reason)
		}
	}
	return results
}

func (p *Plugin) output(r *reader, input Input, outcome columns.Outcome, number int) Output {
	p.t.Helper()
	output := Output{Port: p.ports[0], Timestamp: input.Timestamp, Partition: -1, Headers: input.Headers}
	if len(outcome.Ports) > 0 {
		port := outcome.Ports[number]
		if int(port) >= len(p.ports) {
			p.t.Fatalf("an output to port %d: there are %d", int32(port), len(p.ports))
		}
		output.Port = p.ports[port]
		output.Partition = outcome.Partitions[number]
		if timestamp := outcome.Timestamps[number]; timestamp != -1 {
			output.Timestamp = timestamp
		}
		if output.Partition < -1 || output.Timestamp < -1 {
			p.t.Fatalf("an output with the partition %d and the timestamp %d", output.Partition, output.Timestamp)
		}
	}
	output.Key = r.field(input.Key)
	output.Value = r.field(input.Value)
	if count := r.length(); count >= 0 {
		output.Headers = make([]wasmill.Header, count)
		for i := range output.Headers {
			output.Headers[i] = wasmill.Header{Name: string(r.field(nil)), Value: r.field(nil)}
		}
	}
	return output
}

// Counts returns the sums that were counted since the plugin was made, by name.
func (p *Plugin) Counts() map[string]uint64 { return host.Counts }

// Observed returns the values that were observed since the plugin was made, by name.
func (p *Plugin) Observed() map[string][]float64 { return host.Observed }

// Logged returns whether this line was logged with wasmill.Log since the plugin was made.
func (p *Plugin) Logged(level wasmill.Level, message string) bool {
	for _, line := range host.Lines {
		if line == (host.Line{Level: uint32(level), Message: message}) {
			return true
		}
	}
	return false
}

type reader struct {
	t      testing.TB
	layout []int32
	data   []byte
}

func (r *reader) length() int32 {
	if len(r.layout) == 0 {
		r.t.Fatal("the layout ends inside an output")
	}
	length := r.layout[0]
	r.layout = r.layout[1:]
	return length
}

// field returns a copy of the next field.
func (r *reader) field(same []byte) []byte {
	length := r.length()
	if length == -2 {
		return same
	}
	if length < 0 {
		return nil
	}
	if int(length) > len(r.data) {
		r.t.Fatal("an output has more bytes than there are")
	}
	field := append([]byte{}, r.data[:length]...)
	r.data = r.data[length:]
	return field
}
