package wasmill

import (
	"strings"

	"wasmill.dev/sdk/go/internal/host"
)

// Level is the severity of a line.
type Level uint32

// The levels, as the host's log has them.
const (
	Trace Level = iota
	Debug
	Info
	Warn
	Error
)

// Log writes a line to the host's log, which adds the pipeline and the step. It is kept even if the call traps later. Each line is a call
// to the host, so don't log each record.
func Log(level Level, message string) {
	host.Log(uint32(level), strings.ToValidUTF8(message, "\ufffd"))
}
