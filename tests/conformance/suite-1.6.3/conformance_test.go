// Package suite is the Gateway API's conformance suite as a program: `go test -c` makes it.
package suite

import (
	"testing"

	"sigs.k8s.io/gateway-api/conformance"
)

func TestConformance(t *testing.T) {
	conformance.RunConformance(t)
}
