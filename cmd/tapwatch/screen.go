package main

import (
	"io"
	"os"

	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
)

// screenOf is the terminal that a command writes to; the zero value: it is none.
func screenOf(w io.Writer) path.Screen {
	f, ok := w.(*os.File)
	if !ok {
		return path.Screen{}
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return path.Screen{}
	}
	return path.Screen{Color: os.Getenv("NO_COLOR") == "", Width: int(size.Col)}
}
