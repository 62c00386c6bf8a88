package wasmill

// Record is a record of a topic. Its bytes are valid until the end of the call: copy what you keep, for example with bytes.Clone.
type Record struct {
	// Topic and Partition are where the record was read from.
	Topic     string
	Partition uint32
	// Offset is the record's offset. In a later step, it is that of the input record that this record was made from.
	Offset int64
	// Timestamp is in milliseconds since 1970-01-01 UTC; -1 is none.
	Timestamp int64
	// Attempt is how often the record was tried before: 0 the first time.
	Attempt uint32
	// Key is nil if it is null, which differs from empty.
	Key []byte
	// Value is nil in a tombstone, which differs from empty.
	Value []byte

	// For each header the lengths of its name and its value, and their bytes.
	lengths []int32
	data    []byte
}

// Header is a header. Names may repeat and need not be UTF-8. A nil value is null.
type Header struct {
	Name  string
	Value []byte
}

// Headers returns the headers, in order.
func (r *Record) Headers() []Header {
	headers := make([]Header, 0, len(r.lengths)/2)
	data := r.data
	for i := 0; i < len(r.lengths); i += 2 {
		var name, value []byte
		name, data = take(data, r.lengths[i])
		value, data = take(data, r.lengths[i+1])
		headers = append(headers, Header{string(name), value})
	}
	return headers
}

// Header returns the value of the last header of this name, the one that counts if names repeat, and whether there is one.
func (r *Record) Header(name string) (value []byte, found bool) {
	data := r.data
	for i := 0; i < len(r.lengths); i += 2 {
		var known, content []byte
		known, data = take(data, r.lengths[i])
		content, data = take(data, r.lengths[i+1])
		if string(known) == name {
			value, found = content, true
		}
	}
	return value, found
}

// take splits a field of this length off the front of data. A negative length is null.
func take(data []byte, length int32) (field, rest []byte) {
	if length < 0 {
		return nil, data
	}
	return data[:length:length], data[length:]
}
