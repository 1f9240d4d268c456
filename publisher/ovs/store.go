package ovs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
)

// kept is a saved interface as it is kept in a file, so that a publisher that is
// killed while a guest stands still can put back after its next start what it has
// announced before. The file is written within milliseconds of the announcement;
// the agent was never seen to take a port off in less than 130 ms.
type kept struct {
	Instance   string   `json:"instance"`
	Port       string   `json:"port"`
	Name       string   `json:"name"`
	Bridge     string   `json:"bridge"`
	Interface  row      `json:"interface_row"`
	PortRow    row      `json:"port_row"`
	References []string `json:"references,omitempty"`
}

// keep gives all that is to be kept, in a fixed order.
func (l *levels) keep() []kept {
	all := []kept{}
	for _, instance := range slices.Sorted(maps.Keys(l.guests)) {
		plugs := l.guests[instance].plugs
		for _, port := range slices.Sorted(maps.Keys(plugs)) {
			s := plugs[port].saved
			if !plugs[port].lost {
				all = append(all, kept{instance, s.port, s.name, s.bridge, s.ifaceRow, s.portRow, s.references})
			}
		}
	}
	return all
}

// recall takes what was kept before this start. Where the guests are, the first
// reading of libvirt tells; until then nothing is put back.
func (l *levels) recall(all []kept) {
	for _, k := range all {
		g := l.guests[k.Instance]
		if g == nil {
			g = &guest{plugs: map[string]*plug{}}
			l.guests[k.Instance] = g
		}
		g.plugs[k.Port] = &plug{saved: saved{k.Port, k.Instance, k.Name, k.Bridge, k.Interface, k.PortRow, k.References}}
	}
}

// load reads what was kept; nothing if there is no file.
func load(file string) ([]kept, error) {
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []kept
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return all, nil
}

// store replaces the file; without anything to keep there is none.
func store(file string, all []kept) error {
	if len(all) == 0 {
		if err := os.Remove(file); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	raw, err := json.Marshal(all)
	if err != nil {
		return err
	}
	next := file + ".new"
	if err := os.WriteFile(next, raw, 0o600); err != nil {
		return err
	}
	return os.Rename(next, file)
}
