package watch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/earlybind/earlybind/audit"
)

// written is the story as consumers write it.
var written = func() []byte {
	var b bytes.Buffer
	var now time.Time
	for _, e := range story {
		log := audit.NewAt(func() time.Time { return now }, &b, zerolog.InfoLevel, e.Replica)
		now = e.Time
		log.Record(e.Line)
	}
	return b.Bytes()
}()

func TestRunWritesALineForEachChange(t *testing.T) {
	var out bytes.Buffer
	read, err := Run(t.Context(), []Source{Stream("a", bytes.NewReader(written))}, &out, Options{Outcomes: 10})
	if err != nil || read.Lines != len(story) {
		t.Errorf("%+v, %v", read, err)
	}
	want, err := os.ReadFile("testdata/golden/changes.txt")
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("it writes\n%s", &out)
	}
}

// At the end of its input the last frame is left, as of the last line.
func TestRunLeavesTheLastFrame(t *testing.T) {
	x := newTerminal(t, Size{200, 40})
	var out bytes.Buffer
	_, err := Run(t.Context(), []Source{Stream("a", bytes.NewReader(written))}, io.MultiWriter(x, &out), Options{
		Outcomes: 10, Terminal: true, Size: func() Size { return x.Size },
	})
	if err != nil {
		t.Fatal(err)
	}
	_, left, _ := strings.Cut(out.String(), leave)
	scene, _ := until(24 * time.Hour)
	want := Frame(scene.Now(), story[len(story)-1].Time, Size{199, 40}, false) + "\n"
	if left != want || x.on != 0 {
		t.Errorf("it leaves\n%s\nwant\n%s", left, want)
	}
}

// shared is a buffer that two goroutines use.
type shared struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *shared) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// Of what is in a file already only what goes on is told; then what changes. The
// context's end is no fault.
func TestRunFollowsAFile(t *testing.T) {
	lines := bytes.SplitAfter(written, []byte("\n"))
	cut := 0
	for i, e := range story {
		if !e.Time.After(noon.Add(4*time.Minute + 25*time.Second)) {
			cut = i + 1
		}
	}
	f := &tail{T: t, name: t.TempDir() + "/consumer.log"}
	f.writes(string(bytes.Join(lines[:cut], nil)))
	source, err := Follow(f.name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var out shared
	done := make(chan error, 1)
	go func() {
		_, err := Run(ctx, []Source{source}, &out, Options{Outcomes: 10})
		done <- err
	}()
	await := func(text string) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !strings.Contains(out.String(), text); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%q is not in\n%s", text, out.String())
			}
		}
	}
	await("e7322275-37eb-4301-9b66-d8d416b4cca1  compute1 -> compute2  lost, waits for an operator")
	f.writes(string(bytes.Join(lines[cut:], nil)))
	await("ended expired, NOT RIGHT")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if text := out.String(); strings.Contains(text, "b7322275") || strings.Count(text, "  ended ") != 2 {
		t.Errorf("what was there already is told:\n%s", text)
	}
}

func TestRunFailsWithASource(t *testing.T) {
	broken := io.MultiReader(bytes.NewReader(written[:500]), &failing{})
	if _, err := Run(t.Context(), []Source{Stream("a", broken)}, io.Discard, Options{}); err == nil || err.Error() != "a: torn" {
		t.Errorf("%v", err)
	}
	if _, err := Run(t.Context(), []Source{Stream("a", bytes.NewReader(written))}, &failing{}, Options{}); err == nil || err.Error() != "full" {
		t.Errorf("%v", err)
	}
}

type failing struct{}

func (*failing) Read([]byte) (int, error)  { return 0, errors.New("torn") }
func (*failing) Write([]byte) (int, error) { return 0, errors.New("full") }

// A log that says nothing of what is looked for, for it is the wrong one, is named once; one that speaks is not.
func TestRunNamesALogThatIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		none, noneTo := io.Pipe()
		late, lateTo := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		silent := make(chan string, 10)
		done := make(chan error, 1)
		go func() {
			sources := []Source{Stream("none", none), Stream("late", late), Stream("whole", bytes.NewReader(written)), Stream("other", strings.NewReader("Hello.\n"))}
			_, err := Run(ctx, sources, io.Discard, Options{Outcomes: 10, Silent: func(name string) { silent <- name }})
			done <- err
		}()
		time.Sleep(firstWord - time.Second)
		for _, w := range []struct {
			to   io.Writer
			text string
		}{{noneTo, "Hello.\n"}, {lateTo, text(1)}} {
			if _, err := io.WriteString(w.to, w.text); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if len(silent) > 0 {
			t.Errorf("%q is said to be silent before it had time to speak", <-silent)
		}
		time.Sleep(time.Hour)
		_ = noneTo.Close()
		_ = lateTo.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		close(silent)
		var said []string
		for name := range silent {
			said = append(said, name)
		}
		if !slices.Equal(said, []string{"none", "other"}) {
			t.Errorf("%q are said to be silent", said)
		}
		cancel()
	})
}
