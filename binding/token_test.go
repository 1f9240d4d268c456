package binding_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	th "github.com/gophercloud/gophercloud/v2/testhelper"

	"github.com/earlybind/earlybind/binding"
)

// issued is what Keystone answers: a token of an hour.
func issued(n int) tokens.CreateResult {
	var r tokens.CreateResult
	r.Header = http.Header{"X-Subject-Token": {fmt.Sprintf("token-%d", n)}}
	r.Body = map[string]any{"token": map[string]any{"expires_at": time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05.000000Z")}}
	return r
}

func TestATokenIsRenewedBeforeItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var renewed, asked atomic.Int32
		var away atomic.Bool
		client := &gophercloud.ProviderClient{}
		client.UseTokenLock()
		client.ReauthFunc = func(context.Context) error {
			if asked.Add(1); away.Load() {
				return errors.New("away")
			}
			return client.SetTokenAndAuthResult(issued(int(renewed.Add(1))))
		}
		th.AssertNoErr(t, client.SetTokenAndAuthResult(issued(0)))
		began := time.Now()
		go binding.KeepToken(ctx, client)
		until := func(minutes int) {
			time.Sleep(time.Until(began.Add(time.Duration(minutes)*time.Minute + time.Second)))
			synctest.Wait()
		}
		until(49)
		if asked.Load() != 0 {
			t.Error("renewed early")
		}
		until(50)
		if client.Token() != "token-1" {
			t.Errorf("%s after 50 minutes", client.Token())
		}
		// Keystone is away when the next is due, after 100 minutes, and comes back after 105.
		away.Store(true)
		until(105)
		if renewed.Load() != 1 || asked.Load() != 7 {
			t.Errorf("renewed %d times, asked %d times, want one a minute", renewed.Load(), asked.Load())
		}
		away.Store(false)
		until(106)
		if client.Token() != "token-2" || asked.Load() != 8 {
			t.Errorf("%s, asked %d times", client.Token(), asked.Load())
		}
		// A request renews it in between: the next is due by that one's end, 200 minutes after the beginning.
		until(150)
		th.AssertNoErr(t, client.Reauthenticate(ctx, client.Token()))
		until(199)
		if client.Token() != "token-3" {
			t.Errorf("%s: what a request has renewed was renewed again", client.Token())
		}
		until(200)
		if client.Token() != "token-4" {
			t.Errorf("%s after 200 minutes", client.Token())
		}
		stop()
		synctest.Wait()
	})
}

func TestATokenWithoutAnEndIsLeftAlone(t *testing.T) {
	client := &gophercloud.ProviderClient{ReauthFunc: func(context.Context) error { t.Error("renewed"); return nil }}
	client.SetToken("a token of somebody")
	binding.KeepToken(t.Context(), client) // returns
}

// What gophercloud keeps of the first authentication and of a renewal tells the token's end.
func TestTheEndOfATokenIsKnown(t *testing.T) {
	c := newCloud(t)
	env(t, c, map[string]string{"OS_REGION_NAME": "RegionOne"})
	client, err := binding.NewClient(t.Context(), binding.ClientOpts{})
	th.AssertNoErr(t, err)
	for range 2 {
		ends, known := binding.TokenEnds(client.ProviderClient)
		if want := time.Date(2126, 11, 23, 6, 0, 0, 0, time.UTC); !known || !ends.Equal(want) {
			t.Errorf("the token ends at %s, known: %t", ends, known)
		}
		th.AssertNoErr(t, client.Reauthenticate(t.Context(), client.Token()))
	}
}
