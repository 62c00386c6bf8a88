package wasmill

import (
	"errors"
	"fmt"
	"math"
	"path"
	"runtime"
	"strings"
	"time"

	"wasmill.dev/sdk/go/internal/columns"
)

// RejectError fails a record that can't succeed; [Reject] makes one.
type RejectError struct {
	Code, Reason string
}

func (e *RejectError) Error() string { return e.Reason }

// RetryError fails a record that may succeed later; [Retry] makes one.
type RetryError struct {
	Reason string
	// After is the least wait; 0 leaves it to the pipeline.
	After time.Duration
}

func (e *RetryError) Error() string { return e.Reason }

// Reject is the error of a record that can't succeed: the pipeline stops, skips it, or writes a dead letter. The code is short and
// stable, [a-z0-9-]{1,64} as in bad-json; the reason is for people.
func Reject(code, reason string) error {
	return &RejectError{code, reason}
}

// Retry is the error of a record that may succeed later, after at least this wait. 0 leaves the wait to the pipeline, which also limits
// how often the record is tried.
func Retry(reason string, after time.Duration) error {
	return &RetryError{reason, after}
}

// failed is how an error fails a record.
func failed(index int, err error) columns.Failed {
	failed := columns.Failed{Index: uint32(index), Code: "error", Reason: strings.ToValidUTF8(err.Error(), "\ufffd")}
	var reject *RejectError
	var retry *RetryError
	switch {
	case errors.As(err, &reject):
		failed.Code = reject.Code
	case errors.As(err, &retry):
		failed.IsRetry = true
		failed.HasDelay = retry.After > 0
		// Rounded up: never earlier than asked for.
		delay := (retry.After + time.Millisecond - 1) / time.Millisecond
		failed.DelayMs = uint32(min(max(delay, 0), math.MaxUint32))
	}
	return failed
}

// framesMax is how many functions a panic's place names.
const framesMax = 4

// panicked is the error of a panic, with its place: file, line and function, the innermost first. Called by a deferred function.
func panicked(value any) error {
	var places []string
	var callers [64]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(1, callers[:])])
	isBehindPanic := false
	for len(places) < framesMax {
		frame, more := frames.Next()
		if !more || frame.Function == runnerName {
			break
		}
		isRuntime := strings.HasPrefix(frame.Function, "runtime.")
		if isBehindPanic && !isRuntime {
			places = append(places, fmt.Sprintf("%s:%d (%s)", path.Base(frame.File), frame.Line, frame.Function))
		}
		isBehindPanic = isBehindPanic || frame.Function == "runtime.gopanic" || frame.Function == "runtime.panicmem"
	}
	return Reject("exception", fmt.Sprintf("panic: %v, at %s", value, strings.Join(places, ", ")))
}
