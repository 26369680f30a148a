package top

import (
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"tapwatch/agent/path"
)

// pane is what the screen shows.
type pane int

const (
	list pane = iota
	one       // sandbox
	events
)

// model is the state of the view. Each field has one owner: what the agent said, or what
// the user chose.
type model struct {
	Config
	// What the agent said.
	slots  []path.Slot
	seen   time.Time // zero: never
	err    error     // of the last look
	events []path.Event

	rows   []Row // filtered and sorted
	counts map[path.State]int
	total  int

	// What the user chose.
	width, height int
	pane          pane
	cursor, top   int    // in rows
	scroll        int    // in the pane of one, or of events, from the end
	chosen        string // the key of the row at the cursor: it stays as rows come and go
	typing        bool   // in the filter
	help          bool
}

func newModel(c Config) *model {
	if !slices.Contains(Orders, c.Order) {
		c.Order = Orders[0]
	}
	return &model{Config: c, width: 80, height: 24}
}

// Init implements tea.Model.
func (m *model) Init() tea.Cmd { return nil }

// Update implements tea.Model.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		m.place()
	case looked:
		if m.err = msg.err; m.err == nil {
			m.slots, m.seen = msg.slots, msg.at
			m.arrange()
		}
	case happened:
		if m.events = append(m.events, msg.e); len(m.events) > eventsMost {
			m.events = slices.Delete(m.events, 0, len(m.events)-eventsMost)
		}
	case tea.KeyPressMsg:
		if m.typing {
			m.typed(msg)
			return m, nil
		}
		return m, m.pressed(msg.String())
	}
	return m, nil
}

// pressed does what a key asks for.
func (m *model) pressed(key string) tea.Cmd {
	page := max(1, m.listHeight()-1)
	switch key {
	case "q", "ctrl+c":
		return tea.Quit
	case "esc":
		switch {
		case m.help:
			m.help = false
		case m.pane != list:
			m.pane = list
		default:
			m.Filter = ""
			m.arrange()
		}
	case "?":
		m.help = !m.help
	case "/":
		m.typing, m.pane = true, list
	case "s":
		m.Order = Orders[(slices.Index(Orders, m.Order)+1)%len(Orders)]
		m.arrange()
	case "i":
		m.Idle = !m.Idle
		m.arrange()
	case "e":
		m.show(events)
	case "enter":
		if m.pane == list && len(m.rows) > 0 {
			m.show(one)
		}
	case "up", "k":
		m.move(-1)
	case "down", "j":
		m.move(1)
	case "pgup", "ctrl+b":
		m.move(-page)
	case "pgdown", "ctrl+f", "space":
		m.move(page)
	case "home", "g":
		m.move(-len(m.rows) - eventsMost)
	case "end", "G":
		m.move(len(m.rows) + eventsMost)
	}
	return nil
}

// show opens a pane, or closes it.
func (m *model) show(p pane) {
	if m.pane == p {
		p = list
	}
	m.pane, m.scroll = p, 0
}

// move moves the cursor, or scrolls what is open. The view bounds what is scrolled.
func (m *model) move(by int) {
	switch m.pane {
	case one:
		m.scroll = max(0, m.scroll+by)
	case events: // counted from the end, where the newest are
		m.scroll = max(0, m.scroll-by)
	default:
		m.cursor += by
		m.place()
		m.chosen = m.keyAt(m.cursor)
	}
}

// typed takes a key of the filter's text.
func (m *model) typed(msg tea.KeyPressMsg) {
	switch msg.String() {
	case "enter":
		m.typing = false
		return
	case "esc", "ctrl+c":
		m.typing, m.Filter = false, ""
	case "backspace":
		if r := []rune(m.Filter); len(r) > 0 {
			m.Filter = string(r[:len(r)-1])
		}
	case "ctrl+u":
		m.Filter = ""
	default:
		if msg.Text != "" && !strings.ContainsFunc(msg.Text, func(r rune) bool { return r < ' ' }) {
			m.Filter += msg.Text
		}
	}
	m.arrange()
}

// arrange makes the rows anew and keeps the cursor at the same sandbox.
func (m *model) arrange() {
	all := Rows(m.slots, m.Idle)
	m.counts, m.total = Counts(all), len(all)
	m.rows = Filter(all, m.Filter)
	Sort(m.rows, m.Order)
	if m.chosen != "" {
		if i := slices.IndexFunc(m.rows, func(r Row) bool { return r.key() == m.chosen }); i >= 0 {
			m.cursor = i
		}
	}
	m.place()
	if m.chosen == "" || m.pane == list && m.keyAt(m.cursor) != m.chosen && m.cursor > 0 {
		m.chosen = m.keyAt(m.cursor)
	}
}

// key is what a row is known by while others come and go.
func (r Row) key() string { return r.Netns + "/" + r.Device + "/" + r.SandboxID }

func (m *model) keyAt(i int) string {
	if i < 0 || i >= len(m.rows) {
		return ""
	}
	return m.rows[i].key()
}

// place keeps the cursor among the rows and on the screen.
func (m *model) place() {
	m.cursor = max(0, min(m.cursor, len(m.rows)-1))
	h := m.listHeight()
	m.top = max(0, min(m.top, m.cursor, len(m.rows)-h))
	m.top = max(m.top, m.cursor-h+1)
}

// open is the slot that is shown alone; nil: it has gone.
func (m *model) open() *path.Slot {
	for _, r := range m.rows {
		if r.key() == m.chosen {
			return &m.slots[r.at]
		}
	}
	return nil
}
