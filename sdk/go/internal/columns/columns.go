// Package columns has the contract's columns, as the SDK and its tests pass them on.
package columns

// Batch is the records of a call. Layout has for each record the length of its key, the length of its value and the number of headers,
// and for each header the lengths of its name and its value. Data has the bytes in that order.
type Batch struct {
	Offsets, Timestamps []int64
	Attempts            []uint32
	Layout              []int32
	Data                []byte
}

// Outcome is what became of a batch. Ports, Partitions and Timestamps are empty if all are the default.
type Outcome struct {
	Counts, Ports []uint32
	Partitions    []int32
	Timestamps    []int64
	Layout        []int32
	Data          []byte
	Failures      []Failed
}

// Failed is a failed record.
type Failed struct {
	Index uint32
	// IsRetry: otherwise it is rejected with a code.
	IsRetry, HasDelay bool
	DelayMs           uint32
	Code, Reason      string
}

// Run is a plugin that takes batches.
type Run func(topic string, partition uint32, batch Batch) Outcome

// Start makes the plugin of a factory, for package wasmilltest. The SDK sets it outside of WebAssembly.
var Start func(factory any, settings []byte, ports []string) (Run, error)
