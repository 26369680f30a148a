//go:build soak

package relay

import (
	"testing"
	"time"
)

// TestSoakBulkBothWays sends 1 GiB each way at once through one connection.
func TestSoakBulkBothWays(t *testing.T) { bulkBothWays(t, 1<<30, 10*time.Minute) }
