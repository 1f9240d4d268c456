// Package results keeps what long runs have found in a file, a line of JSON each,
// so that a run that was cut off goes on where it stopped.
package results

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// File is appended to. One without a name keeps nothing.
type File[T any] struct{ file *os.File }

// Open makes the file and its directory if they are not there.
func Open[T any](name string) (File[T], error) {
	if name == "" {
		return File[T]{}, nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return File[T]{}, err
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	return File[T]{f}, err
}

// Save appends a line.
func (f File[T]) Save(one T) error {
	if f.file == nil {
		return nil
	}
	return json.NewEncoder(f.file).Encode(one)
}

// Close closes the file.
func (f File[T]) Close() {
	if f.file != nil {
		_ = f.file.Close()
	}
}

// longest is how long a line may be: a sample with its timeline.
const longest = 1 << 24

// Load reads all lines; there are none of a file that is not there. A line that
// was cut off by a kill is left out and told, and taken again by the run.
func Load[T any](name string) ([]T, error) {
	f, err := os.Open(name)
	if name == "" || errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var found []T
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, longest)
	for lines.Scan() {
		var one T
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			fmt.Fprintf(os.Stderr, "a line of %s is left out: %v\n", name, err)
			continue
		}
		found = append(found, one)
	}
	return found, lines.Err()
}
