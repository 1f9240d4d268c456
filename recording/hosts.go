package recording

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/earlybind/earlybind/wire"
)

// Hosts gives each host another name, "host1" to the first that is met, and so on:
// always the same for the same one.
type Hosts struct {
	prefix string // of a host's RabbitMQ user
	names  map[string]string
}

// NewHosts makes new names. hostUserPrefix is Header.HostUserPrefix.
func NewHosts(hostUserPrefix string) *Hosts {
	return &Hosts{prefix: hostUserPrefix, names: map[string]string{}}
}

func (h *Hosts) name(host string) string {
	if h.names[host] == "" {
		h.names[host] = fmt.Sprintf("host%d", len(h.names)+1)
	}
	return h.names[host]
}

// hide takes the hosts' names out of a scrubbed notification, and out of the key and
// the user of its message.
func (h *Hosts) hide(m *Message, n wire.Notification) wire.Notification {
	separator := "."
	if strings.Contains(n.PublisherID, ":") {
		separator = ":"
	}
	service, host, _ := strings.Cut(n.PublisherID, separator)
	if host != "" {
		n.PublisherID = service + separator + h.name(host)
	}
	if rest, ok := strings.CutPrefix(m.Key, "libvirt."+host+"."); ok {
		m.Key = "libvirt." + h.name(host) + "." + rest
	}
	if of, ok := strings.CutPrefix(m.User, h.prefix); ok && of != "" {
		m.User = h.prefix + h.name(of)
	} else {
		m.User = ""
	}
	var payload any
	d := json.NewDecoder(bytes.NewReader(n.Payload))
	d.UseNumber()
	if d.Decode(&payload) == nil {
		h.rename(payload)
		if renamed, err := json.Marshal(payload); err == nil {
			n.Payload = renamed
		}
	}
	return n
}

// rename changes every "host" below a value.
func (h *Hosts) rename(value any) {
	switch v := value.(type) {
	case []any:
		for _, element := range v {
			h.rename(element)
		}
	case map[string]any:
		for name, below := range v {
			if host, ok := below.(string); ok && name == "host" && host != "" {
				v[name] = h.name(host)
				continue
			}
			h.rename(below)
		}
	}
}
