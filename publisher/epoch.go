package publisher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const epochFile = "epoch"

// nextEpoch gives the epoch of this start and makes it durable before it is
// used: the greater of the last epoch plus one and now in Unix seconds. A clock
// that was set back cannot lower it, and neither can a lost file while the clock
// is right. An epoch file that cannot be read as a number is a fault: guessing
// could silence the host.
func nextEpoch(dir string, now time.Time) (int64, error) {
	path := filepath.Join(dir, epochFile)
	var last int64
	switch raw, err := os.ReadFile(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return 0, fmt.Errorf("read the epoch: %w", err)
	default:
		last, err = strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s does not hold a number: remove it if the clock of this host is right", path)
		}
	}
	epoch := max(last+1, now.Unix())
	if err := replaceFile(path, []byte(strconv.FormatInt(epoch, 10)+"\n")); err != nil {
		return 0, fmt.Errorf("store the epoch: %w", err)
	}
	return epoch, nil
}

// replaceFile writes a file so that after a crash at any instruction it holds
// the old content or the new.
func replaceFile(path string, content []byte) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
