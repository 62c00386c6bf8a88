package wasmill

import (
	"math"

	"wasmill.dev/sdk/go/internal/host"
)

type sum struct {
	name string
	by   uint64
}

type observation struct {
	name  string
	value float64
}

var (
	// There are few names, so a search is quicker than a map.
	sums         []sum
	observations []observation
	// report passes the sums to the host at the end of a call. Nil in a plugin that counts nothing, which then doesn't import `metrics`.
	report func()
)

// Count adds to the counter wasmill_plugin_custom_total{name=NAME}; the name is [a-z0-9_]{1,64}. The sums are passed to the host once a
// call. They don't count if the call traps; what a failed record counted does.
func Count(name string, by uint64) {
	report = reportMetrics
	for i := range sums {
		if sums[i].name == name {
			if sums[i].by += by; sums[i].by < by {
				sums[i].by = math.MaxUint64
			}
			return
		}
	}
	sums = append(sums, sum{name, by})
}

// Observe adds a value to the histogram wasmill_plugin_custom{name=NAME}. The values are passed to the host once a call.
func Observe(name string, value float64) {
	report = reportMetrics
	observations = append(observations, observation{name, value})
}

func reportMetrics() {
	for _, sum := range sums {
		host.Count(sum.name, sum.by)
	}
	for _, observation := range observations {
		host.Observe(observation.name, observation.value)
	}
	sums, observations = sums[:0], observations[:0]
}
