package network

import "fmt"

// Shape is how layer 1 reaches the guest of a slot. Its words are recorded, for
// agents to read.
type Shape string

// The shapes of a path.
const (
	// ShapeRelay has layer 2, a relay, listen in the namespace.
	ShapeRelay Shape = "relay"
	// ShapeFused has layer 1 dial the guest from inside the namespace itself.
	ShapeFused Shape = "fused"
	// ShapeDNAT has the namespace's kernel pass what comes for HostIP on to the
	// guest, as upstream E2B does.
	ShapeDNAT Shape = "dnat"
)

// Shapes is every shape, the default first.
var Shapes = []Shape{ShapeRelay, ShapeFused, ShapeDNAT}

// Validate says what is allowed where s is no shape.
func (s Shape) Validate() error {
	for _, known := range Shapes {
		if s == known {
			return nil
		}
	}
	return fmt.Errorf("path %.40q: must be relay, fused or dnat", string(s))
}
