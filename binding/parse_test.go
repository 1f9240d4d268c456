package binding

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
)

type panics struct{ with any }

func (p panics) Read([]byte) (int, error) { panic(p.with) }

// The panic of an entry without auth says so, with what it was; one that is no fault of Go's is none.
func TestOnlyThePanicOfNoAuthSaysSo(t *testing.T) {
	const noAuth = "it has no auth (runtime error: invalid memory address or nil pointer dereference)"
	for name, c := range map[string]struct {
		yaml         io.Reader
		fault, panic string
	}{
		"no auth":             {yaml: bytes.NewBufferString("clouds: {lab: {region_name: RegionOne}}"), fault: noAuth},
		"no auth, no profile": {yaml: bytes.NewBufferString("clouds: {lab: {region_name: RegionOne, profile: }}"), fault: noAuth},
		"an empty entry":      {yaml: bytes.NewBufferString("clouds: {lab: }"), fault: noAuth},
		"an index":            {yaml: panics{fmt.Errorf("index out of range")}, panic: "index out of range"},
		"a word":              {yaml: panics{"something else"}, panic: "something else"},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if fault := recover(); (fault == nil) != (c.panic == "") || fault != nil && fmt.Sprint(fault) != c.panic {
					t.Errorf("panic: %v, want %q", fault, c.panic)
				}
			}()
			_, _, _, err := parse([]clouds.ParseOption{clouds.WithCloudName("lab"), clouds.WithCloudsYAML(c.yaml)})
			if err == nil || err.Error() != c.fault {
				t.Errorf("error: %v, want %q", err, c.fault)
			}
		})
	}
}
