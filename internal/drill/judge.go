package drill

import (
	"context"
	"errors"
	"time"
)

// settling is how long after a fault requests may still be answered as before.
const settling = 300 * time.Millisecond

// judge waits until the expected code has stood alone for holdTime, or patience
// is over, and then for the alert.
func (w *World) judge(ctx context.Context, b *Box, f Fault, made time.Time, r *Result) error {
	var since time.Time // when the expected code began to stand alone
	err := w.until(ctx, func() (bool, error) {
		s, err := b.seen(ctx)
		if err != nil {
			return false, err
		}
		r.Named = ""
		if s != nil {
			r.Named = codes(s.Diagnosis)
			r.Rule = b.got.breach(s.Diagnosis, made.Add(settling))
		}
		switch {
		case r.Named != f.Expected:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		}
		return !since.IsZero() && time.Since(since) >= holdTime, nil
	})
	if errors.Is(err, errLate) {
		r.Seconds = time.Since(made).Seconds()
		return nil
	}
	if err != nil {
		return err
	}
	r.Right, r.Seconds = r.Rule == "", since.Sub(made).Seconds()
	if w.Alerts == nil {
		return nil
	}
	return w.alerted(ctx, b, made, r)
}
