package binding

import (
	"context"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
)

const (
	// renewBefore is how long before its end a token is renewed: Keystone's clock may be off from ours, and be away for a
	// while. Its tokens last for an hour as shipped ([token] expiration).
	renewBefore = 10 * time.Minute
	// renewAgain is how long after a renewal, or one that has failed, the next may be.
	renewAgain = time.Minute
)

// KeepToken renews the client's token before it ends, so that no request has to wait for Keystone after Neutron's 401: an
// activate may be that request, and a customer's network waits for it. It returns when ctx ends, or when the client's
// token has no end that is known. A renewal that fails is told by nobody: it is tried again, and from the
// token's end on each request renews it by itself, and tells.
func KeepToken(ctx context.Context, client *gophercloud.ProviderClient) {
	for {
		ends, known := tokenEnds(client)
		if !known {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(time.Until(ends)-renewBefore, renewAgain)):
		}
		// As the token is by now: one that a request has renewed meanwhile stays.
		if now, _ := tokenEnds(client); now.Equal(ends) {
			_ = client.Reauthenticate(ctx, client.Token())
		}
	}
}

// tokenEnds gives when Keystone says that the client's token ends.
func tokenEnds(client *gophercloud.ProviderClient) (ends time.Time, known bool) {
	issued, ok := client.GetAuthResult().(tokens.CreateResult)
	if !ok {
		return time.Time{}, false
	}
	token, err := issued.ExtractToken()
	if err != nil || token.ExpiresAt.IsZero() {
		return time.Time{}, false
	}
	return token.ExpiresAt, true
}
