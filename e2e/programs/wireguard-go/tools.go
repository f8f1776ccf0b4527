//go:build tools

// Package tools pins the wireguard-go that the tests run.
package tools

import _ "golang.zx2c4.com/wireguard"
