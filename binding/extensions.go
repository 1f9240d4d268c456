package binding

import (
	"context"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions"
)

const (
	// aliasBindingExtended: the API of this package.
	aliasBindingExtended = "binding-extended"

	// aliasConcurrentActivate stands in for "Neutron 23.0.0 or newer": no call
	// tells the version, and ML2 has this extension in every one from 23.0.0 on
	// (code; seen on 26.0.3).
	aliasConcurrentActivate = "security-groups-default-rules"
)

// ConcurrentActivateSafe tells whether two activates at once do no harm: from
// Neutron 23.0.0 the second one gets 409, which Nova tolerates; before, one of the
// callers can get a 500, and if that is Nova, the instance goes to ERROR (Launchpad
// bug 1986003).
//
// False can be wrong: the fix is also in 22.0.1, 21.1.1, 20.3.1 and 19.7.0, which
// cannot be seen from outside.
func ConcurrentActivateSafe(ctx context.Context, client *gophercloud.ServiceClient) (bool, error) {
	return hasExtension(ctx, client, aliasConcurrentActivate)
}

// HasBindingExtended tells whether Neutron has the API of this package.
func HasBindingExtended(ctx context.Context, client *gophercloud.ServiceClient) (bool, error) {
	return hasExtension(ctx, client, aliasBindingExtended)
}

// hasExtension reads the whole list: a 404 for one alias could also come from a
// proxy or a wrong endpoint.
func hasExtension(ctx context.Context, client *gophercloud.ServiceClient, alias string) (bool, error) {
	c := call{op: OpExtensions}
	page, err := extensions.List(client).AllPages(ctx)
	if err != nil {
		return false, c.fail(err)
	}
	list, err := extensions.ExtractExtensions(page)
	if err != nil {
		return false, c.fail(err)
	}
	for _, e := range list {
		if e.Alias == alias {
			return true, nil
		}
	}
	return false, nil
}
