package broker

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Cluster is a broker: the URLs of its nodes, each with the virtual host.
type Cluster []string

// unreadable stands for a URL that cannot be shown: it may hold a password.
const unreadable = "(unreadable URL)"

// Check names every fault of a cluster that is, or is in, the given setting.
func (c Cluster) Check(setting string) error {
	if len(c) == 0 {
		return fmt.Errorf("%s names no node", setting)
	}
	var faults []error
	var vhosts []string
	for i, raw := range c {
		u, err := url.Parse(raw)
		switch {
		case err != nil:
			// url.Error quotes the URL, which may hold a password.
			faults = append(faults, fmt.Errorf("%s: entry %d is not a URL", setting, i+1))
		case u.Scheme != "amqp" && u.Scheme != "amqps" || u.Host == "":
			faults = append(faults, fmt.Errorf("%s: entry %d is not amqp://host or amqps://host", setting, i+1))
		case u.User != nil:
			faults = append(faults, fmt.Errorf("%s: entry %d holds credentials; they belong in EARLYBIND_AMQP_USER and EARLYBIND_AMQP_PASSWORD", setting, i+1))
		default:
			vhosts = append(vhosts, vhost(raw))
		}
	}
	slices.Sort(vhosts)
	if len(slices.Compact(vhosts)) > 1 {
		faults = append(faults, fmt.Errorf("%s: the entries name different virtual hosts: they are the nodes of one cluster, and each URL ends with the same one", setting))
	}
	return errors.Join(faults...)
}

// String tells people which broker it is: its nodes, and the virtual host if that
// is not "/". It holds no credentials.
func (c Cluster) String() string {
	var nodes []string
	suffix := ""
	for _, raw := range c {
		nodes = append(nodes, address(raw))
		if v := vhost(raw); v != "/" {
			suffix = "/" + v
		}
	}
	return strings.Join(nodes, ",") + suffix
}

// Meets tells whether two clusters have a node and a virtual host in common, and
// so are the same broker.
func (c Cluster) Meets(other Cluster) bool {
	return slices.ContainsFunc(c, func(a string) bool {
		return slices.ContainsFunc(other, func(b string) bool { return address(a) == address(b) && vhost(a) == vhost(b) })
	})
}

// address is a URL's host and port.
func address(raw string) string {
	uri, err := amqp.ParseURI(raw)
	if err != nil {
		return unreadable
	}
	return net.JoinHostPort(uri.Host, strconv.Itoa(uri.Port))
}

// vhost is a URL's virtual host, "/" if it names none.
func vhost(raw string) string {
	uri, _ := amqp.ParseURI(raw) // the default, if it is no URL
	return uri.Vhost
}

// Vhost is the virtual host that all its URLs name.
func (c Cluster) Vhost() string {
	if len(c) == 0 {
		return "/"
	}
	return vhost(c[0])
}
