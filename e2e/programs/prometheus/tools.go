//go:build tools

// Package tools pins the Prometheus that holds alerts and dashboard.
package tools

import (
	_ "github.com/prometheus/prometheus/cmd/prometheus"
	_ "github.com/prometheus/prometheus/cmd/promtool"
)
