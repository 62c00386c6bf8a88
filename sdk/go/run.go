package wasmill

import (
	"wasmill.dev/sdk/go/internal/columns"
)

// keptMax is how many bytes of memory are kept for the next call.
const keptMax = 1 << 20

// runnerName is the function that calls the plugin, as a stack trace names it.
const runnerName = "wasmill.dev/sdk/go.(*runner).one"

// runner takes batches apart, and puts outcomes together. Everything in an outcome is valid until the next call.
type runner struct {
	process  Process
	out      Out
	record   Record
	counts   []uint32
	failures []columns.Failed
}

// newRunner makes the plugin.
func newRunner(create Factory, settings []byte, ports []string) (made *runner, err error) {
	defer func() {
		if value := recover(); value != nil {
			err = panicked(value)
		}
	}()
	process, err := create(settings, ports)
	if err != nil {
		return nil, err
	}
	return &runner{process: process}, nil
}

// run runs a batch. The host never passes columns that don't match each other.
func (r *runner) run(topic string, partition uint32, batch columns.Batch) columns.Outcome {
	r.out.clear()
	r.counts = r.counts[:0]
	r.failures = r.failures[:0]
	layout, data := batch.Layout, batch.Data
	for index, offset := range batch.Offsets {
		// All of it: a plugin may have changed the fields, or kept the pointer.
		r.record = Record{
			Topic: topic, Partition: partition, Offset: offset,
			Timestamp: batch.Timestamps[index], Attempt: batch.Attempts[index],
		}
		r.record.Key, data = take(data, layout[0])
		r.record.Value, data = take(data, layout[1])
		headers := 2 * layout[2]
		r.record.lengths, layout = layout[3:3+headers:3+headers], layout[3+headers:]
		bytes := 0
		for _, length := range r.record.lengths {
			bytes += int(max(length, 0))
		}
		r.record.data, data = data[:bytes:bytes], data[bytes:]

		before := r.out.mark()
		if err := r.one(); err != nil {
			r.out.takeBack(before)
			r.failures = append(r.failures, failed(index, err))
		}
		r.counts = append(r.counts, uint32(r.out.outputs-before.outputs))
	}
	if report != nil {
		report()
	}
	out := &r.out
	return columns.Outcome{
		Counts: r.counts, Ports: out.ports, Partitions: out.partitions, Timestamps: out.timestamps,
		Layout: out.layout, Data: out.data, Failures: r.failures,
	}
}

// one runs the record. Never inlined: a stack trace ends here.
//
//go:noinline
func (r *runner) one() (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = panicked(value)
		}
	}()
	return r.process(&r.record, &r.out)
}
