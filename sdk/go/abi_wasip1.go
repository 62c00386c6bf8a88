package wasmill

import (
	"bytes"
	"strings"
	"unsafe"

	"wasmill.dev/sdk/go/internal/columns"
)

// The canonical ABI of the world `transform-batch`. Pointers in memory have 64 bits in Go, and 32 in the ABI: what the host reads is built
// of uint32.

// arena is the memory that the host has asked for in this call. It is used again, so that a call makes no garbage.
var arena struct {
	// The last one has room; the others are full.
	blocks [][]uint64
	used   int
}

const arenaWords = 1 << 13

//go:wasmexport cabi_realloc
func cabiRealloc(old unsafe.Pointer, oldSize, _, size uint32) unsafe.Pointer {
	words := int(size+7) / 8
	last := len(arena.blocks) - 1
	// One word is left over, so that an empty list isn't behind the end.
	if last < 0 || words >= len(arena.blocks[last])-arena.used {
		room := arenaWords
		if last >= 0 {
			room = 2 * len(arena.blocks[last])
		}
		arena.blocks = append(arena.blocks, make([]uint64, max(room, words+1)))
		arena.used = 0
		last++
	}
	at := unsafe.Pointer(&arena.blocks[last][arena.used])
	arena.used += words
	if old != nil {
		copy(unsafe.Slice((*byte)(at), size), unsafe.Slice((*byte)(old), oldSize))
	}
	return at
}

// reset empties the arena, and keeps its largest block, unless that is large.
func reset() {
	arena.used = 0
	if last := len(arena.blocks) - 1; last >= 0 && 8*len(arena.blocks[last]) <= keptMax {
		arena.blocks = append(arena.blocks[:0], arena.blocks[last])
	} else {
		arena.blocks = nil
	}
}

// plugin is the instance's.
var plugin *runner

// topic is a copy of the last call's: plugins may keep it.
var topic string

// result is what the host reads: whether it is an error, then a pointer and a length for each list. What it points to is kept alive by
// `plugin`, `failures` and `message`.
var (
	result   [15]uint32
	failures []abiFailed
	message  string
)

// abiFailed is a failed record. The last four are a code and a reason, or: whether there is a delay, the delay, and a reason.
type abiFailed struct {
	index, isReject, a, b, c, d uint32
}

func place(pointer unsafe.Pointer) uint32 {
	return uint32(uintptr(pointer))
}

func text(text string) (at, length uint32) {
	return place(unsafe.Pointer(unsafe.StringData(text))), uint32(len(text))
}

func list[T any](number int, items []T) {
	result[1+2*number] = place(unsafe.Pointer(unsafe.SliceData(items)))
	result[2+2*number] = uint32(len(items))
}

//go:wasmexport wasmill:plugin/batch-handler@1.0.0#init
func handlerInit(settings unsafe.Pointer, length uint32, ports unsafe.Pointer, count uint32) unsafe.Pointer {
	names := make([]string, count)
	for i, port := range unsafe.Slice((*[2]uint32)(ports), count) {
		names[i] = strings.Clone(unsafe.String((*byte)(unsafe.Pointer(uintptr(port[0]))), port[1]))
	}
	message = ""
	if factory == nil {
		message = "the plugin isn't registered: call wasmill.Plugin in a function init"
	} else if made, err := newRunner(factory, bytes.Clone(unsafe.Slice((*byte)(settings), length)), names); err == nil {
		plugin = made
	} else if message = strings.ToValidUTF8(err.Error(), "\ufffd"); message == "" {
		message = "the plugin returned an error without a text"
	}
	reset()
	result[0] = 0
	if message != "" {
		result[0] = 1
		result[1], result[2] = text(message)
	}
	return unsafe.Pointer(&result)
}

//go:wasmexport wasmill:plugin/batch-handler@1.0.0#process
func handlerProcess(topicAt unsafe.Pointer, topicLength, partition uint32,
	offsets unsafe.Pointer, count uint32, timestamps unsafe.Pointer, timestampCount uint32,
	attempts unsafe.Pointer, attemptCount uint32, layout unsafe.Pointer, layoutLength uint32,
	data unsafe.Pointer, dataLength uint32) unsafe.Pointer {
	if name := unsafe.String((*byte)(topicAt), topicLength); name != topic {
		topic = strings.Clone(name)
	}
	outcome := plugin.run(topic, partition, columns.Batch{
		Offsets:    unsafe.Slice((*int64)(offsets), count),
		Timestamps: unsafe.Slice((*int64)(timestamps), timestampCount),
		Attempts:   unsafe.Slice((*uint32)(attempts), attemptCount),
		Layout:     unsafe.Slice((*int32)(layout), layoutLength),
		Data:       unsafe.Slice((*byte)(data), dataLength),
	})
	failures = failures[:0]
	for i := range outcome.Failures {
		failed := &outcome.Failures[i]
		abi := abiFailed{index: failed.Index}
		if failed.IsRetry {
			if failed.HasDelay {
				abi.a, abi.b = 1, failed.DelayMs
			}
		} else {
			abi.isReject = 1
			abi.a, abi.b = text(failed.Code)
		}
		abi.c, abi.d = text(failed.Reason)
		failures = append(failures, abi)
	}
	result[0] = 0
	list(0, outcome.Counts)
	list(1, outcome.Ports)
	list(2, outcome.Partitions)
	list(3, outcome.Timestamps)
	list(4, outcome.Layout)
	list(5, outcome.Data)
	list(6, failures)
	return unsafe.Pointer(&result)
}

// The host has read the result.
//
//go:wasmexport cabi_post_wasmill:plugin/batch-handler@1.0.0#process
func handlerProcessEnd(_ unsafe.Pointer) {
	reset()
}
