package ovs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// wantReplugs looks at how ports have ended by the metrics.
func (b *bench) wantReplugs(t *testing.T, verified, late, gaveUp int) {
	t.Helper()
	want := fmt.Sprintf(`
# HELP earlybind_publisher_replugs_total Ports that were missing from Open vSwitch after a failed migration, by how the attempt to plug them in has ended.
# TYPE earlybind_publisher_replugs_total counter
earlybind_publisher_replugs_total{outcome="gave_up"} %d
earlybind_publisher_replugs_total{outcome="late"} %d
earlybind_publisher_replugs_total{outcome="verified"} %d
`, gaveUp, late, verified)
	if err := testutil.GatherAndCompare(b.registry, strings.NewReader(want), "earlybind_publisher_replugs_total"); err != nil {
		t.Error(err)
	}
}
