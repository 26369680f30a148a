package main

import (
	"io"
	"os"

	"golang.org/x/sys/unix"

	"tapwatch/agent/draw"
)

// screenOf is the terminal that a command writes to; the zero value: it is none.
func screenOf(w io.Writer) draw.Screen {
	f, ok := w.(*os.File)
	if !ok {
		return draw.Screen{}
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return draw.Screen{}
	}
	return draw.Screen{Color: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb", Width: int(size.Col)}
}
