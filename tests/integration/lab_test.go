//go:build integration

// Package integration tests earlybind on the real servers of the lab (make
// lab-up): Neutron, RabbitMQ and libvirt. A server that is missing fails the
// tests. They take ports, virtual hosts and queues of their own and leave the
// lab's guest where it is.
//
// TestNeutron... and TestRabbitMQ... run on both releases, TestLibvirt... needs
// the whole lab. TestCluster... needs no lab, only its image of RabbitMQ (make
// cluster).
//
// Tests on a virtual host and a Neutron of their own run in parallel; Go begins them when all
// others have ended. Those run alone: what asks the real Neutron, unless it mostly waits, is timed
// to a second or two, touches the lab's guest or its hosts, or the broker as a whole.
package integration

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"

	"github.com/earlybind/earlybind/tests/lab"
)

// patience is how long a real server may take for what usually takes less than
// a second.
const patience = 30 * time.Second

// source and dest are the two hosts of every migration here; their agents live.
var source, dest = lab.Computes[0], lab.Computes[1]

var openLab = sync.OnceValues(func() (*lab.Lab, error) { return lab.Open(context.Background()) })

func theLab(t testing.TB) *lab.Lab {
	t.Helper()
	l, err := openLab()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

var openEarlybind = sync.OnceValues(func() (*gophercloud.ServiceClient, error) {
	l, err := openLab()
	if err != nil {
		return nil, err
	}
	provider, err := l.Provider(context.Background(), "earlybind")
	if err != nil {
		return nil, err
	}
	return openstack.NewNetworkV2(provider, gophercloud.EndpointOpts{Region: "RegionOne"})
})

// asEarlybind is a client of Neutron with earlybind's own rights: role service,
// on Zed admin.
func asEarlybind(t testing.TB) *gophercloud.ServiceClient {
	t.Helper()
	c, err := openEarlybind()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// eventually waits for a condition, at most for patience.
func eventually(t testing.TB, what string, condition func() (bool, error)) {
	t.Helper()
	within(t, patience, what, condition)
}

func within(t testing.TB, limit time.Duration, what string, condition func() (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := lab.Until(ctx, what, condition); err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
