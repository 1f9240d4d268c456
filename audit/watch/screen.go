package watch

import (
	"io"
	"strings"
)

// Control sequences, of ECMA-48 and of xterm's private modes; a terminal that does not
// know a private mode leaves it.
const (
	enter    = "\x1b[?1049h\x1b[?25l\x1b[?7l" // another screen, no cursor, no wrapping
	leave    = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	begin    = "\x1b[?2026h\x1b[H" // what follows is shown at once
	lineEnd  = "\x1b[K\r\n"
	frameEnd = "\x1b[K\x1b[J\x1b[?2026l"
)

// Screen shows frames on a terminal, one in place of the other, on a screen of its own.
type Screen struct {
	out   io.Writer
	size  func() Size
	shown string
	was   Size
}

// NewScreen begins to draw. size gives that of the terminal.
func NewScreen(out io.Writer, size func() Size) (*Screen, error) {
	_, err := io.WriteString(out, enter)
	return &Screen{out: out, size: size}, err
}

// Draw shows the frame that is drawn for the terminal's size.
func (s *Screen) Draw(frame func(Size) string) error {
	size := s.size()
	text := frame(size.inner())
	if text == s.shown && size == s.was {
		return nil
	}
	s.shown, s.was = text, size
	_, err := io.WriteString(s.out, begin+strings.ReplaceAll(text, "\n", lineEnd)+frameEnd)
	return err
}

// Close gives the terminal back as it was, and leaves the last frame there.
func (s *Screen) Close(frame func(Size) string) error {
	_, err := io.WriteString(s.out, leave+frame(s.size().inner())+"\n")
	return err
}

// inner is the part that is written to: in the last column some terminals erase what
// stands there with the rest of the line.
func (s Size) inner() Size { return Size{max(s.Width-1, 0), s.Height} }
