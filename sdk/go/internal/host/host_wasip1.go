// Package host has the functions of the host that every plugin may call.
package host

// Log writes a line.
//
//go:wasmimport wasmill:plugin/log@1.0.0 write
func Log(level uint32, message string)

// Count adds to a counter.
//
//go:wasmimport wasmill:plugin/metrics@1.0.0 count
func Count(name string, by uint64)

// Observe adds to a histogram.
//
//go:wasmimport wasmill:plugin/metrics@1.0.0 observe
func Observe(name string, value float64)
