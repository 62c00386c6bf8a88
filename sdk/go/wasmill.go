// Package wasmill is the SDK for plugins of wasmill in Go. It has no dependencies.
//
// A plugin is a main package that registers itself in an init function:
//
//	func init() {
//		wasmill.Plugin(func(settings []byte, ports []string) (wasmill.Process, error) {
//			audit := slices.Index(ports, "audit")
//			return func(record *wasmill.Record, out *wasmill.Out) error {
//				if audit >= 0 {
//					out.Forward(audit)
//				}
//				out.Forward(wasmill.Main)
//				return nil
//			}, nil
//		})
//	}
//
//	func main() {}
//
// It is built with
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o plugin.wasm .
//
// and tested without WebAssembly by the package wasmilltest.
//
// Memory is a cache, never state: the host may replace an instance between any two calls. Goroutines run only while a call runs.
package wasmill

// Main is the default port: the next step, or [output.main] after the last step. The other ports are the pipeline's other outputs.
const Main = 0

// Process is called for each record, in the order of the offsets. The outputs of a record that fails are discarded.
//
// An error of [Reject] or [Retry] fails the record as it says, also if it is wrapped. Any other error is a reject with the code
// "error", and a panic one with the code "exception".
type Process func(record *Record, out *Out) error

// Factory makes the plugin of an instance. It gets the step's settings, a JSON object, and the names of the ports, the default one
// first. An error keeps the pipeline from starting, and its author sees it.
type Factory func(settings []byte, ports []string) (Process, error)

// factory is the plugin; nil until it is registered.
var factory Factory

// Plugin registers the plugin. Call it in an init function: main is never called.
func Plugin(create Factory) {
	factory = create
}
