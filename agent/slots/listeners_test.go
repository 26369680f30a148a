package slots

import (
	"testing"

	"tapwatch/agent/path"
)

func TestSameTemplate(t *testing.T) {
	one := &path.Template{Dir: "/t", Problems: []path.TemplateProblem{{Code: "image-unreadable", Cause: "no image"}}}
	again := &path.Template{Dir: "/t", Problems: []path.TemplateProblem{{Code: "image-unreadable", Cause: "no image", Fix: "another"}}}
	for what, c := range map[string]struct {
		was  *path.Template
		same bool
	}{
		"none before":        {nil, false},
		"the same problems":  {again, true},
		"another directory":  {&path.Template{Dir: "/u", Problems: one.Problems}, false},
		"no problems before": {&path.Template{Dir: "/t"}, false},
		"another cause":      {&path.Template{Dir: "/t", Problems: []path.TemplateProblem{{Code: "image-unreadable"}}}, false},
	} {
		if got := sameTemplate(c.was, one); got != c.same {
			t.Errorf("%s: same %t", what, got)
		}
	}
}
