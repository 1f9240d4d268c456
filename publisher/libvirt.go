package publisher

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"libvirt.org/go/libvirt"
)

// hypervisor is what the watcher needs of libvirt.
type hypervisor interface {
	// connect opens a connection and has lifecycle events delivered from now
	// on; deliver must return at once. It may block for as long as the daemon
	// is frozen.
	connect(deliver func(lifecycle)) (connection, error)
}

// connection is one connection to libvirt, thrown away when lost.
type connection interface {
	// read asks for the state of every domain; whose a domain is it asks only
	// of those that are not in ofNova.
	read(ofNova map[string]bool) ([]reading, error)
	// owner asks whose a domain is; ownerUnknown where there is no answer.
	owner(instance string) (ownership, error)
	// lost receives the reason, once, when the connection is lost.
	lost() <-chan error
	// close may block; no other call may be under way or follow.
	close()
}

// The namespaces of Nova's metadata element; the second since Nova 23
// (nova/virt/libvirt/config.py, NOVA_NS).
var novaNamespaces = []string{
	"http://openstack.org/xmlns/libvirt/nova/1.1",
	"http://openstack.org/xmlns/libvirt/nova/1.0",
}

// Keepalive finds a frozen daemon after interval × (count + 1) = 20 s: the
// close callback then says KEEPALIVE, and calls that wait return.
const (
	keepaliveInterval = 5 // seconds
	keepaliveCount    = 3
)

var (
	_ hypervisor = (*daemon)(nil)
	_ connection = (*libvirtConn)(nil)
)

// daemon is a real libvirtd or virtqemud.
type daemon struct {
	uri string
	log zerolog.Logger
}

// eventLoop registers libvirt's event loop and runs it, once and for the life of
// the process: it must be there before the first connection, and libvirt has no
// way to end it. It fails where libvirt.so.0 cannot be loaded.
var eventLoop = sync.OnceValue(func() error {
	if err := libvirt.EventRegisterDefaultImpl(); err != nil {
		return fmt.Errorf("libvirt's event loop: %w", err)
	}
	go runEventLoop()
	return nil
})

func runEventLoop() {
	for {
		if err := libvirt.EventRunDefaultImpl(); err != nil {
			time.Sleep(time.Second) // poll(2) failed; do not spin
		}
	}
}

func newDaemon(uri string, log zerolog.Logger) (*daemon, error) {
	if err := eventLoop(); err != nil {
		return nil, err
	}
	return &daemon{uri: uri, log: log}, nil
}

// libvirtConn is one read-only connection.
type libvirtConn struct {
	conn     *libvirt.Connect
	callback int
	gone     chan error
	log      zerolog.Logger
}

func (d *daemon) connect(deliver func(lifecycle)) (connection, error) {
	conn, err := libvirt.NewConnectReadOnly(d.uri)
	if err != nil {
		return nil, err
	}
	c := &libvirtConn{conn: conn, callback: -1, gone: make(chan error, 1), log: d.log}
	if err := c.watch(deliver); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *libvirtConn) watch(deliver func(lifecycle)) error {
	// Drivers inside this process (test:///) have nothing to keep alive.
	if err := c.conn.SetKeepAlive(keepaliveInterval, keepaliveCount); err != nil && !errors.Is(err, libvirt.ERR_NO_SUPPORT) {
		return fmt.Errorf("keepalive: %w", err)
	}
	err := c.conn.RegisterCloseCallback(func(_ *libvirt.Connect, reason libvirt.ConnectCloseReason) {
		select {
		case c.gone <- fmt.Errorf("libvirt closed the connection: %s", closeReason(reason)):
		default:
		}
	})
	if err != nil {
		return fmt.Errorf("close callback: %w", err)
	}
	c.callback, err = c.conn.DomainEventLifecycleRegister(nil, func(_ *libvirt.Connect, d *libvirt.Domain, e *libvirt.DomainEventLifecycle) {
		at := time.Now()
		// Local to the library, no call to the daemon. The domain is the
		// callback's and is not to be freed.
		instance, err := d.GetUUIDString()
		if err != nil {
			return // cannot be: the daemon sent the UUID with the event
		}
		event, detail := nameEvent(e.Event, e.Detail)
		deliver(lifecycle{instance: instance, event: event, detail: detail, at: at})
	})
	if err != nil {
		c.callback = -1
		return fmt.Errorf("lifecycle events: %w", err)
	}
	return nil
}

func closeReason(r libvirt.ConnectCloseReason) string {
	switch r {
	case libvirt.CONNECT_CLOSE_REASON_ERROR:
		return "I/O error"
	case libvirt.CONNECT_CLOSE_REASON_EOF:
		return "end of file"
	case libvirt.CONNECT_CLOSE_REASON_KEEPALIVE:
		return "keepalive timeout"
	default:
		return unknownNumber(int(r))
	}
}

func (c *libvirtConn) lost() <-chan error { return c.gone }

// read takes no domain's job: listing, GetState, IsPersistent and GetMetadata
// need the domain object for a moment only. GetState was seen to answer during
// a switchover and to wait 200 ms while libvirt kills the source's QEMU
// (run, libvirt 9.0 and 11.3); a whole reading on the source within
// a switchover took a few milliseconds (run, libvirt 9.0 with QEMU 7.2).
func (c *libvirtConn) read(ofNova map[string]bool) ([]reading, error) {
	list, err := c.conn.ListAllDomains(libvirt.CONNECT_LIST_DOMAINS_ACTIVE | libvirt.CONNECT_LIST_DOMAINS_INACTIVE)
	if err != nil {
		return nil, fmt.Errorf("list domains: %w", err)
	}
	defer func() {
		for i := range list {
			_ = list[i].Free()
		}
	}()
	all := make([]reading, 0, len(list))
	for i := range list {
		r, err := readDomain(&list[i], ofNova)
		if errors.Is(err, libvirt.ERR_NO_DOMAIN) {
			continue // it has gone since the list was made
		}
		if err != nil {
			return nil, fmt.Errorf("read domain %s: %w", r.instance, err)
		}
		all = append(all, r)
	}
	return all, nil
}

func readDomain(d *libvirt.Domain, ofNova map[string]bool) (r reading, err error) {
	if r.instance, err = d.GetUUIDString(); err != nil {
		return r, err
	}
	state, reason, err := d.GetState()
	if err != nil {
		return r, err
	}
	r.condition = nameState(state, reason)
	if r.persistent, err = d.IsPersistent(); err != nil {
		return r, err
	}
	r.owner = ownedByNova
	if !ofNova[r.instance] {
		r.owner, err = askOwner(d)
		if errors.Is(err, libvirt.ERR_NO_DOMAIN) {
			return r, err
		}
	}
	return r, nil
}

func (c *libvirtConn) owner(instance string) (ownership, error) {
	d, err := c.conn.LookupDomainByUUIDString(instance)
	if err != nil {
		return ownerUnknown, err
	}
	defer func() { _ = d.Free() }()
	return askOwner(d)
}

// askOwner looks for Nova's metadata element. Of an incoming domain, right after
// its STARTED, the answer took 1.2 to 1.8 ms (run, libvirt 9.0 with QEMU 7.2):
// GetMetadata waits for the domain object, not for the job that the incoming
// migration holds. How long another call may hold that object is not known, so
// nothing waits for the answer.
func askOwner(d *libvirt.Domain) (ownership, error) {
	for _, ns := range novaNamespaces {
		_, err := d.GetMetadata(libvirt.DOMAIN_METADATA_ELEMENT, ns, libvirt.DOMAIN_AFFECT_CURRENT)
		switch {
		case err == nil:
			return ownedByNova, nil
		case !errors.Is(err, libvirt.ERR_NO_DOMAIN_METADATA):
			return ownerUnknown, err
		}
	}
	return foreign, nil
}

func (c *libvirtConn) close() {
	// On a lost connection both answer with an error and still let go of
	// their references. A callback that the event loop is just serving keeps
	// its reference until then; libvirt frees the connection with the last.
	_ = c.conn.UnregisterCloseCallback()
	if c.callback >= 0 {
		_ = c.conn.DomainEventDeregister(c.callback)
	}
	if _, err := c.conn.Close(); err != nil {
		c.log.Warn().Err(err).Msg("libvirt connection is not freed")
	}
}
