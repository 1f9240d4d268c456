package recording

import (
	"encoding/json"
	"io"
)

// Writer writes a recording, each line at once.
type Writer struct{ lines *json.Encoder }

// NewWriter writes the header, with this package's version.
func NewWriter(to io.Writer, h Header) (*Writer, error) {
	w := &Writer{json.NewEncoder(to)}
	w.lines.SetEscapeHTML(false)
	h.Version = Version
	return w, w.lines.Encode(h)
}

// Write writes one message.
func (w *Writer) Write(m Message) error { return w.lines.Encode(m) }
