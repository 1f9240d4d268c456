package main

import (
	"io"
	"os"

	"golang.org/x/term"

	"github.com/earlybind/earlybind/audit/watch"
)

// isTerminal tells whether what is written there is shown on a terminal.
func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
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
	file, ok := out.(*os.File)
	if !ok {
		return watch.Size{}
	}
	width, height, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return watch.Size{}
	}
	return watch.Size{Width: width, Height: height}
}
