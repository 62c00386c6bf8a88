module thief

go 1.24

require wasmill.dev/sdk/go v0.0.0

replace wasmill.dev/sdk/go => ../../../sdk/go
