package watch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/earlybind/earlybind/audit"
)

const (
	// back is how many bytes of what a file holds already are read: some tens of
	// thousands of lines, and so more than the 45 minutes that a handover can go on.
	back = 16 << 20
	// poll is how often a file is looked at again. (inotify tells nothing of NFS.)
	poll = 200 * time.Millisecond
)

// Source is a log.
type Source struct {
	Name string
	// read gives each line to each, and calls caughtUp when it has read what was there
	// already. It ends with the log, or with the context.
	read func(ctx context.Context, each func(audit.Entry), caughtUp func()) (audit.Skipped, error)
}

// Stream is a log that comes from somewhere, such as standard input.
func Stream(name string, in io.Reader) Source {
	return Source{name, func(ctx context.Context, each func(audit.Entry), caughtUp func()) (audit.Skipped, error) {
		caughtUp()
		return audit.Read(in, func(e audit.Entry) bool { each(e); return ctx.Err() == nil })
	}}
}

// Follow is a file that grows; it is opened anew when it was replaced, or begun anew when it
// was truncated, as logs are that are rotated. What is no regular file is read as it comes.
// The caller closes nothing.
func Follow(name string) (Source, error) { return followFrom(name, back) }

// followFrom reads so many bytes of what is there.
func followFrom(name string, back int64) (Source, error) {
	file, err := os.Open(name)
	if err != nil {
		return Source{}, err
	}
	info, err := file.Stat()
	if err == nil && info.IsDir() {
		err = errors.New(name + " is a directory")
	}
	if err != nil {
		_ = file.Close()
		return Source{}, err
	}
	if !info.Mode().IsRegular() {
		return Stream(name, file), nil
	}
	f := &followed{name: name, file: file, whole: true}
	if from := info.Size() - back; from > 0 {
		f.whole = false
		if _, err := file.Seek(from, io.SeekStart); err != nil {
			_ = file.Close()
			return Source{}, err
		}
	}
	return Source{name, func(ctx context.Context, each func(audit.Entry), caughtUp func()) (audit.Skipped, error) {
		f.ctx, f.caughtUp = ctx, caughtUp
		defer f.close()
		return audit.Read(f, func(e audit.Entry) bool { each(e); return true })
	}}, nil
}

// followed reads a file that has no end.
type followed struct {
	name     string
	file     *os.File
	ctx      context.Context //nolint:containedctx // io.Reader has none
	caughtUp func()
	whole    bool // what is read begins with a whole line
	inLine   bool // what was read ends within one
}

func (f *followed) close() { _ = f.file.Close() }

// Read waits for more, until the context ends.
func (f *followed) Read(p []byte) (int, error) {
	for {
		n, err := f.file.Read(p)
		if !f.whole && n > 0 {
			_, rest, found := bytes.Cut(p[:n], []byte("\n"))
			n, f.whole = copy(p, rest), found
		}
		if n > 0 {
			f.inLine = p[n-1] != '\n'
			return n, nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if err == nil { // of a line that is left out
			continue
		}
		if f.caughtUp != nil {
			f.caughtUp()
			f.caughtUp = nil
		}
		begun, err := f.beginAnew()
		if err != nil {
			return 0, err
		}
		if begun {
			f.whole = true
			if f.inLine { // half a line, and the first of another file, are not one
				f.inLine = false
				return copy(p, "\n"), nil
			}
			continue
		}
		select {
		case <-f.ctx.Done():
			return 0, io.EOF
		case <-time.After(poll):
		}
	}
}

// beginAnew turns to the file that has come in this one's place, or to the beginning
// of this one if it has become shorter.
func (f *followed) beginAnew() (bool, error) {
	at, err := f.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return false, err
	}
	mine, err := f.file.Stat()
	if err != nil {
		return false, err
	}
	if mine.Size() < at {
		_, err := f.file.Seek(0, io.SeekStart)
		return true, err
	}
	there, err := os.Stat(f.name)
	if err != nil || os.SameFile(mine, there) || mine.Size() > at {
		return false, nil // one that is away comes back
	}
	next, err := os.Open(f.name)
	if err != nil {
		return false, nil
	}
	_ = f.file.Close()
	f.file = next
	return true, nil
}
