//go:build tools

// Package tools pins Helm and the checker of the manifests that it renders.
package tools

import (
	_ "github.com/yannh/kubeconform/cmd/kubeconform"
	_ "helm.sh/helm/v4/cmd/helm"
)
