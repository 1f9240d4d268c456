package consumer

import (
	"fmt"
	"hash/fnv"
	"strconv"
)

// maxShares bounds how many shares there are: each is given every message.
const maxShares = 32

// share is the part of a cell's instances that one session takes in. Its zero
// value is all of them.
type share struct {
	number int // from 1 to of
	of     int
}

// has tells whether an instance, or whatever else has a name of its own, falls to
// this share.
func (s share) has(name string) bool { return s.only() || s.whose(name) == s }

// whose gives the share that a name falls to, the same in every replica and
// version: 32-bit FNV-1a of the name, modulo of.
func (s share) whose(name string) share {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // never fails
	return share{number: int(h.Sum32()%uint32(max(s.of, 1))) + 1, of: s.of}
}

// only tells whether this is the only share there is.
func (s share) only() bool { return s.of <= 1 }

// portion gives this share's part of what the sessions of a cell may hold together,
// but a tenth at least.
func (s share) portion(n int) int { return max(n/max(s.of, 1), n/10) }

func (s share) String() string { return fmt.Sprintf("%d of %d", s.number, s.of) }

// queue gives the name of this share's queue: the first share's is the name
// itself, whatever their number.
func (s share) queue(name string) string {
	if s.number <= 1 {
		return name
	}
	return name + "." + strconv.Itoa(s.number)
}
