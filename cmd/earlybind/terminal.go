package main

import (
	"io"
	"os"

	"golang.org/x/term"

	"github.com/earlybind/earlybind/audit/watch"
)

// fileOf gives the file that is written to, if it is one.
func fileOf(out io.Writer) (*os.File, bool) {
	if o, ok := out.(*stdout); ok {
		out = o.Writer
	}
	file, ok := out.(*os.File)
	return file, ok
}

// isTerminal tells whether what is written there is shown on a terminal.
func isTerminal(out io.Writer) bool {
	file, ok := fileOf(out)
	return ok && term.IsTerminal(int(file.Fd()))
}

// draws tells whether that is a terminal that can be drawn on.
func draws(out io.Writer) bool {
	kind := os.Getenv("TERM")
	return kind != "" && kind != "dumb" && isTerminal(out)
}

// colours tells whether a terminal is to be written to in colours: https://no-color.org.
func colours() bool { return os.Getenv("NO_COLOR") == "" }

// sizeOf gives the size of a terminal; zero if it tells none.
func sizeOf(out io.Writer) watch.Size {
	file, ok := fileOf(out)
	if !ok {
		return watch.Size{}
	}
	width, height, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return watch.Size{}
	}
	return watch.Size{Width: width, Height: height}
}
