package events

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"tapwatch/agent/path"
)

// publish tells of n events whose texts count from first.
func publish(e *Hub, first, n int) {
	for i := range n {
		e.Publish(path.Event{Text: fmt.Sprint(first + i)})
	}
}

func texts(events []path.Event) []string {
	var s []string
	for _, ev := range events {
		s = append(s, ev.Text)
	}
	return s
}

func TestRecentKeepsTheLastInOrder(t *testing.T) {
	for _, published := range []int{0, 1, recentEvents - 1, recentEvents, recentEvents + 1, 2*recentEvents + 7} {
		t.Run(fmt.Sprint(published), func(t *testing.T) {
			var e Hub
			publish(&e, 0, published)
			var want []string
			for i := max(0, published-recentEvents); i < published; i++ {
				want = append(want, fmt.Sprint(i))
			}
			if got := texts(e.Recent()); !slices.Equal(got, want) {
				t.Errorf("got %d events %v, want %d %v", len(got), got, len(want), want)
			}
		})
	}
}

func TestRecentIsACopy(t *testing.T) {
	var e Hub
	publish(&e, 0, 2)
	e.Recent()[0].Text = "changed"
	_ = append(e.Recent()[:1], path.Event{Text: "changed"})
	if got := texts(e.Recent()); !slices.Equal(got, []string{"0", "1"}) {
		t.Errorf("a reader changed the ring: %v", got)
	}
}

func TestSubscribersGetAllFromNowOn(t *testing.T) {
	var e Hub
	publish(&e, 0, 3)
	a := e.Subscribe()
	publish(&e, 3, 2)
	b := e.Subscribe()
	publish(&e, 5, 1)
	a.Close()
	b.Close()
	publish(&e, 6, 1)
	for name, tt := range map[string]struct {
		s    *Subscription
		want []string
	}{"a": {a, []string{"3", "4", "5"}}, "b": {b, []string{"5"}}} {
		var got []path.Event
		for ev := range tt.s.C { // ends, because Close closed it
			got = append(got, ev)
		}
		if !slices.Equal(texts(got), tt.want) || tt.s.Lost() != 0 {
			t.Errorf("%s: got %v and lost %d, want %v and none", name, texts(got), tt.s.Lost(), tt.want)
		}
	}
}

func TestSlowSubscriberLosesAndIsTold(t *testing.T) {
	var e Hub
	slow, quick := e.Subscribe(), e.Subscribe()
	defer quick.Close()
	room := cap(slow.C)
	for i := range room + 10 {
		publish(&e, i, 1) // returns, though slow takes nothing
		<-quick.C
	}
	if slow.Lost() != 10 || quick.Lost() != 0 {
		t.Errorf("lost %d and %d, want 10 and 0", slow.Lost(), quick.Lost())
	}
	if first := <-slow.C; first.Text != "0" {
		t.Errorf("the oldest kept is %s, want 0: what is lost are the newest", first.Text)
	}
	publish(&e, 999, 1) // there is room again
	slow.Close()
	var last path.Event
	for last = range slow.C {
	}
	if last.Text != "999" || slow.Lost() != 10 {
		t.Errorf("the last is %s, lost %d, want 999 and 10", last.Text, slow.Lost())
	}
}

func TestCloseTwice(t *testing.T) {
	var e Hub
	s, other := e.Subscribe(), e.Subscribe()
	s.Close()
	s.Close()
	publish(&e, 0, 1)
	if _, open := <-s.C; open {
		t.Error("an event came after Close")
	}
	if ev := <-other.C; ev.Text != "0" {
		t.Errorf("the other reader got %q", ev.Text)
	}
	other.Close()
	if len(e.subs) != 0 {
		t.Errorf("%d subscriptions are kept after Close", len(e.subs))
	}
}

// TestConcurrent has many publish while readers come, read and go: nobody waits
// for another, and each event is received or counted as lost.
func TestConcurrent(t *testing.T) {
	const publishers, each = 8, 500
	var e Hub
	var publishing, reading sync.WaitGroup
	var steady []*Subscription
	received := make([]int, 4)
	for i := range received {
		s := e.Subscribe()
		steady = append(steady, s)
		reading.Go(func() {
			for range s.C {
				received[i]++
			}
		})
	}
	for range publishers {
		publishing.Go(func() { publish(&e, 0, each) })
		publishing.Go(func() {
			for range each {
				s := e.Subscribe()
				e.Recent()
				s.Lost()
				s.Close()
			}
		})
	}
	publishing.Wait()
	for _, s := range steady {
		s.Close()
	}
	reading.Wait()
	for i, s := range steady {
		if got := received[i] + int(s.Lost()); got != publishers*each {
			t.Errorf("reader %d: %d received, %d lost, want %d together", i, received[i], s.Lost(), publishers*each)
		}
	}
	if n := len(e.Recent()); n != recentEvents {
		t.Errorf("the ring keeps %d, want %d", n, recentEvents)
	}
}

// TestFollowMissesNothingAndRepeatsNothing has readers come while events are
// published, many times: what was kept and what came after is each event once.
func TestFollowMissesNothingAndRepeatsNothing(t *testing.T) {
	const n = 200 // a reader loses none of so few
	for range 100 {
		var e Hub
		var publishing sync.WaitGroup
		publishing.Go(func() { publish(&e, 0, n) })
		kept, s := e.Follow()
		for len(kept) == 0 { // nothing is published yet
			s.Close()
			kept, s = e.Follow()
		}
		publishing.Wait()
		s.Close()
		got := texts(kept)
		for ev := range s.C {
			got = append(got, ev.Text)
		}
		for i, text := range got {
			if text != fmt.Sprint(i) {
				t.Fatalf("kept %d, and event %d is %s", len(kept), i, text)
			}
		}
		if len(got) != n {
			t.Fatalf("kept %d, %d altogether, want %d", len(kept), len(got), n)
		}
	}
}
