//go:build soak

package scale

import "testing"

// TestSoak makes and removes thousands of slots, 500 at a time.
func TestSoak(t *testing.T) { soak(t, 5_000, 500) }

// TestSoakOrderedLives creates and kills a thousand sandboxes.
func TestSoakOrderedLives(t *testing.T) { quiet(t, 1_000) }
