package check

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/earlybind/earlybind/handover"
)

// Hosts that are named and are not there are all in a finding's hosts, and the star is none.
func TestEveryNamedHostThatIsNotThereIsAHostOfTheFinding(t *testing.T) {
	f := fit()
	var want []string
	for i := range 12 {
		want = append(want, fmt.Sprintf("rack%02d", i))
	}
	f.Settings.PolicyHosts = named(append([]string{here, handover.EveryHost}, want...))
	found := namedHosts(f)
	if len(found) != 1 || !slices.Equal(found[0].Hosts, want) {
		t.Errorf("%+v", found)
	}
}

// Where Keystone lets nobody in one finding says so, and not one for each thing that was not seen.
func TestNamesAreNotLookedForInACloudThatWasNotMet(t *testing.T) {
	f := fit()
	f.Neutron, f.Nova = NeutronFacts{Account: Unseen[Account]("401")}, NovaFacts{}
	f.Settings.PolicyDrivers, f.Settings.PolicyHosts, f.Settings.PolicyNetworks = named([]string{"ovn"}), named([]string{"compute9"}), named([]string{"m"})
	for _, found := range Judge(f) {
		if strings.HasPrefix(found.ID, "settings.") {
			t.Errorf("%+v", found)
		}
	}
}
