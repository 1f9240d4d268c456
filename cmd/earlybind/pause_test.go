package main

import (
	"strings"
	"testing"

	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/handover"
)

// What an order leaves an operator to know is told with it.
func TestWhatIsToldWithAnOrder(t *testing.T) {
	const resumes, asGiven = "earlybind resume -host compute1 -host compute2", "a host's name is taken as it is given"
	left := handover.Halt{Hosts: []string{"compute1", "compute2"}, Why: "by bob: nic"}
	for _, c := range []struct {
		order consumer.Order
		is    handover.Halt
		tells []string
		not   []string
	}{
		{consumer.Order{Resume: true}, left, []string{resumes}, []string{asGiven}},
		{consumer.Order{Resume: true}, handover.Halt{}, nil, []string{"-host", asGiven}},
		{consumer.Order{Hosts: []string{"compute1", "compute2"}}, left, []string{asGiven}, []string{resumes}},
		{consumer.Order{Resume: true, Hosts: []string{"compute9"}}, left, nil, []string{resumes, asGiven}},
	} {
		var out strings.Builder
		told := []consumer.Told{{Cell: "rabbit:5672", Is: c.is, Given: true, Words: []consumer.Word{{Replica: "r"}}}}
		if err := reportOrder(c.order, told, &out); err != nil {
			t.Error(err)
		}
		for _, want := range c.tells {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%+v: %q lacks %q", c.order, &out, want)
			}
		}
		for _, no := range c.not {
			if strings.Contains(out.String(), no) {
				t.Errorf("%+v: %q has %q", c.order, &out, no)
			}
		}
	}
	var out strings.Builder
	if err := reportPaused([]consumer.Told{{Cell: "rabbit:5672", Is: left}}, &out); err != nil || !strings.HasSuffix(out.String(), "\n  the last order to pause: by bob: nic\n") {
		t.Errorf("%v: %q", err, &out)
	}
}
