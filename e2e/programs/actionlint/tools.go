//go:build tools

// Package tools pins the actionlint that reads the hosted workflows.
package tools

import _ "github.com/rhysd/actionlint/cmd/actionlint"
