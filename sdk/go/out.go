package wasmill

import (
	"bytes"
	"encoding/json"
)

const (
	null = -1
	same = -2
	// anyPartition leaves the partition to the output's partitioner, and inputTimestamp is the input record's.
	anyPartition   = -1
	inputTimestamp = -1
)

// Out collects the outputs of records. A record without outputs is dropped, which is a success.
type Out struct {
	outputs int
	// Columns of the contract. Ports, partitions and timestamps are empty as long as all of their entries are the default.
	ports      []uint32
	partitions []int32
	timestamps []int64
	layout     []int32
	data       []byte
}

// Field is a key or a value of an output. Its zero value is that of the input record, which is not copied.
type Field struct {
	bytes []byte
	isSet bool
}

// Same is the input record's.
var Same = Field{}

// Null is the null key, or the value of a tombstone.
var Null = Field{isSet: true}

// Bytes are other bytes. Nil is null, as in a [Record].
func Bytes(bytes []byte) Field {
	return Field{bytes, true}
}

// Output is an output. Its zero value is the record as it came, to the port Main.
type Output struct {
	// Port is an index into the ports of the [Factory].
	Port int
	Key  Field
	// Value of Null is a tombstone.
	Value Field
	// Headers of nil are those of the input record; an empty slice is none.
	Headers []Header
	// Timestamp in milliseconds since 1970-01-01 UTC; nil is that of the input record.
	Timestamp *int64
	// Partition of nil leaves it to the output's partitioner.
	Partition *int32
}

// Forward emits the record as it came.
func (o *Out) Forward(port int) {
	o.count(port, anyPartition, inputTimestamp)
	o.layout = append(o.layout, same, same, same)
}

// Send emits the record with another value; nil makes a tombstone of it.
func (o *Out) Send(port int, value []byte) {
	o.count(port, anyPartition, inputTimestamp)
	o.layout = append(o.layout, same)
	o.append(value)
	o.layout = append(o.layout, same)
}

// JSON emits the record with a document as its value, as encoding/json writes it, but without escapes for HTML.
func (o *Out) JSON(port int, document any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(document); err != nil {
		return err
	}
	o.Send(port, bytes.TrimSuffix(text.Bytes(), []byte("\n")))
	return nil
}

// Emit emits an output. Its bytes are copied.
func (o *Out) Emit(output Output) {
	partition, timestamp := int32(anyPartition), int64(inputTimestamp)
	if output.Partition != nil {
		partition = *output.Partition
	}
	if output.Timestamp != nil {
		timestamp = *output.Timestamp
	}
	o.count(output.Port, partition, timestamp)
	o.field(output.Key)
	o.field(output.Value)
	if output.Headers == nil {
		o.layout = append(o.layout, same)
		return
	}
	o.layout = append(o.layout, int32(len(output.Headers)))
	for _, header := range output.Headers {
		o.layout = append(o.layout, int32(len(header.Name)))
		o.data = append(o.data, header.Name...)
		o.append(header.Value)
	}
}

// count adds an output to the columns that have one entry for each.
func (o *Out) count(port int, partition int32, timestamp int64) {
	if len(o.ports) > 0 || port != Main || partition != anyPartition || timestamp != inputTimestamp {
		for len(o.ports) < o.outputs {
			o.ports = append(o.ports, Main)
			o.partitions = append(o.partitions, anyPartition)
			o.timestamps = append(o.timestamps, inputTimestamp)
		}
		o.ports = append(o.ports, uint32(port))
		o.partitions = append(o.partitions, partition)
		o.timestamps = append(o.timestamps, timestamp)
	}
	o.outputs++
}

func (o *Out) field(field Field) {
	if field.isSet {
		o.append(field.bytes)
	} else {
		o.layout = append(o.layout, same)
	}
}

// append adds bytes and their length. Nil is null.
func (o *Out) append(bytes []byte) {
	if bytes == nil {
		o.layout = append(o.layout, null)
		return
	}
	o.layout = append(o.layout, int32(len(bytes)))
	o.data = append(o.data, bytes...)
}

// mark is where the outputs end.
type mark struct {
	outputs, layout, data int
}

func (o *Out) mark() mark {
	return mark{o.outputs, len(o.layout), len(o.data)}
}

// takeBack discards the outputs behind a mark.
func (o *Out) takeBack(to mark) {
	o.outputs = to.outputs
	o.layout = o.layout[:to.layout]
	o.data = o.data[:to.data]
	if len(o.ports) > to.outputs {
		o.ports = o.ports[:to.outputs]
		o.partitions = o.partitions[:to.outputs]
		o.timestamps = o.timestamps[:to.outputs]
	}
}

// clear discards everything, and keeps the memory for the next call, unless it is much.
func (o *Out) clear() {
	if cap(o.data) > keptMax {
		*o = Out{}
	}
	o.takeBack(mark{})
}
