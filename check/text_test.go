package check

import (
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	got := Text([]Finding{{
		ID: "a.b", Level: Note, Broker: "cell2:5672", Saw: strings.Repeat("word ", 30), Means: "it means\nthis",
		Do: []Remedy{{AnyTool, "one"}, {Helm, "in the values:\nconf:\n  nova: x"}},
	}}, nil)
	want := `NOTE     a.b of cell2:5672
  ` + strings.TrimSpace(strings.Repeat("word ", 19)) + `
  ` + strings.TrimSpace(strings.Repeat("word ", 11)) + `
  -> it means this
  do: one
  openstack-helm: in the values:
      conf:
        nova: x

fit for earlybind: 0 blockers, 1 note, 0 unknown, 0 fit
`
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	f := fit()
	f.Brokers[0].Exchanges["nova"] = Saw(false)
	found := Judge(f)
	if hint := "-tool kolla-ansible tells"; !strings.Contains(Text(found, nil), hint) || strings.Contains(Text(For(Helm, found), nil), hint) {
		t.Error(Text(found, nil))
	}
}
