// Command thief takes all that Go can get at. A record says what to try: see ../canaries.py.
package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"wasmill.dev/sdk/go"
)

func init() {
	wasmill.Plugin(func([]byte, []string) (wasmill.Process, error) { return try, nil })
}

func main() {}

type way func(argument string) (any, error)

var ways = map[string][]way{
	"env": {
		func(string) (any, error) { return os.Environ(), nil },
		func(string) (any, error) { return syscall.Environ(), nil },
		func(string) (any, error) { return os.Getenv("CANARY"), nil },
	},
	"args": {
		func(string) (any, error) { return os.Args, nil },
		func(string) (any, error) { return os.Executable() },
	},
	"cwd": {
		func(string) (any, error) { return os.Getwd() },
		func(string) (any, error) { return os.Hostname() },
		func(string) (any, error) { return os.UserHomeDir() },
	},
	"stdin": {func(string) (any, error) { return io.ReadAll(io.LimitReader(os.Stdin, 4096)) }},
	"file": {
		func(path string) (any, error) { return os.ReadFile(path) },
		func(path string) (any, error) { return syscall.Open(path, syscall.O_RDONLY, 0) },
		func(path string) (any, error) { return os.Stat(path) },
		func(path string) (any, error) { return os.Readlink(path) },
	},
	"list":  {func(path string) (any, error) { return os.ReadDir(path) }},
	"write": {func(path string) (any, error) { return "written", os.WriteFile(path, []byte("taken"), 0o600) }},
	"connect": {func(address string) (any, error) {
		connection, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return nil, err
		}
		defer connection.Close()
		fmt.Fprint(connection, "GET / HTTP/1.0\r\n\r\n")
		return io.ReadAll(io.LimitReader(connection, 4096))
	}},
	"exec":   {func(command string) (any, error) { return exec.Command(command).CombinedOutput() }},
	"memory": {searched},
}

// searched looks for the reversed text in the memory, from the first address of a variable to the end of the module's data.
func searched(marker string) (any, error) {
	text := []byte(marker)
	slices.Reverse(text)
	memory := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(&text[0]), 0)), 1<<16)
	found := []string{}
	for at := 0; ; at++ {
		next := bytes.Index(memory[at:], text)
		if next < 0 {
			return fmt.Sprintf("%d bytes, %d with it: %q", len(memory), len(found), found), nil
		}
		at += next
		found = append(found, string(memory[at:min(at+100, len(memory))]))
	}
}

func try(record *wasmill.Record, out *wasmill.Out) error {
	asked := string(record.Value)
	kind, argument, _ := strings.Cut(asked, " ")
	tries, known := ways[kind]
	if !known {
		out.Forward(wasmill.Main)
		return nil
	}
	said := []string{}
	for _, way := range tries {
		got, err := way(argument)
		if bytes, is := got.([]byte); is {
			got = string(bytes)
		}
		said = append(said, fmt.Sprintf("%v %v", got, err))
	}
	out.Send(wasmill.Main, []byte("told "+asked+" -> "+strings.Join(said, "; ")))
	return nil
}
