//go:build !wasip1

package wasmill

import (
	"wasmill.dev/sdk/go/internal/columns"
)

func init() {
	columns.Start = func(create any, settings []byte, ports []string) (columns.Run, error) {
		runner, err := newRunner(create.(Factory), settings, ports)
		if err != nil {
			return nil, err
		}
		return runner.run, nil
	}
}
