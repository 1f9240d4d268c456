package metrics

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestMessagesAreCountedByKind(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	p := NewPublisher(r)
	p.Confirmed("suspended", 20*time.Millisecond, false)
	p.Confirmed("unknown-12", 20*time.Millisecond, true)
	p.Confirmed(States, time.Hour, false) // waits for nobody
	want := `
# HELP earlybind_publisher_messages_total Messages that the broker has confirmed.
# TYPE earlybind_publisher_messages_total counter
earlybind_publisher_messages_total{kind="crashed"} 0
earlybind_publisher_messages_total{kind="defined"} 0
earlybind_publisher_messages_total{kind="other"} 1
earlybind_publisher_messages_total{kind="pmsuspended"} 0
earlybind_publisher_messages_total{kind="resumed"} 0
earlybind_publisher_messages_total{kind="shutdown"} 0
earlybind_publisher_messages_total{kind="started"} 0
earlybind_publisher_messages_total{kind="states"} 1
earlybind_publisher_messages_total{kind="stopped"} 0
earlybind_publisher_messages_total{kind="suspended"} 1
earlybind_publisher_messages_total{kind="undefined"} 0
# HELP earlybind_publisher_messages_unroutable_total Of the confirmed messages those that no queue has taken.
# TYPE earlybind_publisher_messages_unroutable_total counter
earlybind_publisher_messages_unroutable_total 1
# HELP earlybind_publisher_confirm_seconds From libvirt's callback to the broker's confirmation of the event.
# TYPE earlybind_publisher_confirm_seconds histogram
earlybind_publisher_confirm_seconds_bucket{le="0.005"} 0
earlybind_publisher_confirm_seconds_bucket{le="0.01"} 0
earlybind_publisher_confirm_seconds_bucket{le="0.025"} 2
earlybind_publisher_confirm_seconds_bucket{le="0.05"} 2
earlybind_publisher_confirm_seconds_bucket{le="0.1"} 2
earlybind_publisher_confirm_seconds_bucket{le="0.25"} 2
earlybind_publisher_confirm_seconds_bucket{le="0.5"} 2
earlybind_publisher_confirm_seconds_bucket{le="1"} 2
earlybind_publisher_confirm_seconds_bucket{le="2.5"} 2
earlybind_publisher_confirm_seconds_bucket{le="5"} 2
earlybind_publisher_confirm_seconds_bucket{le="10"} 2
earlybind_publisher_confirm_seconds_bucket{le="+Inf"} 2
earlybind_publisher_confirm_seconds_sum 0.04
earlybind_publisher_confirm_seconds_count 2
`
	if err := testutil.GatherAndCompare(r, strings.NewReader(want), "earlybind_publisher_messages_total", "earlybind_publisher_messages_unroutable_total", "earlybind_publisher_confirm_seconds"); err != nil {
		t.Error(err)
	}
}

func TestNilTakesEverything(t *testing.T) {
	var p *Publisher
	p.Backlog(nil)
	p.Confirmed("suspended", 0, true)
	p.Dropped(1)
	p.Lost(1)
	p.Connected(ToBroker)
	p.Replugged(ReplugGaveUp)
}
