module wasmill.dev/sdk/go

go 1.24
