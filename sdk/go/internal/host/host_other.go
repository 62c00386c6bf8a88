//go:build !wasip1

// Package host has the functions of the host that every plugin may call. Outside of WebAssembly they collect what they get.
package host

// Line is a line of the log.
type Line struct {
	Level   uint32
	Message string
}

// What was collected.
var (
	Lines    []Line
	Counts   = map[string]uint64{}
	Observed = map[string][]float64{}
)

// Reset forgets it.
func Reset() {
	Lines = nil
	clear(Counts)
	clear(Observed)
}

// Log writes a line.
func Log(level uint32, message string) {
	Lines = append(Lines, Line{level, message})
}

// Count adds to a counter.
func Count(name string, by uint64) {
	Counts[name] += by
}

// Observe adds to a histogram.
func Observe(name string, value float64) {
	Observed[name] = append(Observed[name], value)
}
