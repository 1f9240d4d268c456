package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/earlybind/earlybind/tests/duel"
)

const (
	// rightWithin bounds the time to right after Nova's last answer, beside the
	// time that the cloud's faults lasted.
	rightWithin = 120 * time.Second
	// endWithin is how long the consumers' word of the end is waited for, before the
	// instance's next migration, once the rows are right: Nova's silence is waited for half
	// a minute, and a write whose outcome is unknown is watched for a minute.
	// What comes later is found in the end; see findEnds.
	endWithin = 75 * time.Second
	look      = time.Second
)

// judgement is how a handover ended.
type judgement struct {
	atOnce  bool // right at the first look after Nova's last answer
	right   bool
	why     string        // it is not
	toRight time.Duration // from Nova's last answer
	alarms  int
	met     []fault // of the cloud
}

// judge waits until the ports of an instance are right and the consumers have
// said that the handover is over, looks once more, and says how it went. The
// first look was taken when Nova was done. settled is called when the ports are
// found right for the first time.
func (g *game) judge(ctx context.Context, p played, in *instance, settled func()) judgement {
	var j judgement
	alarms := g.consumers.alarmsOf(in.id)
	j.right, j.why = g.right(ctx, in)
	if j.atOnce = p.atOnce; !j.atOnce {
		j.toRight = time.Since(p.ended)
	}
	for {
		j.await(ctx, g, p, in)
		settled()
		if !j.right || !g.awaitEnd(ctx, p, in) {
			break
		}
		// A repair that came late may have changed what was right.
		if j.right, j.why = g.right(ctx, in); j.right {
			break
		}
		j.atOnce, j.toRight = false, time.Since(p.ended)
	}
	j.alarms = g.consumers.alarmsOf(in.id) - alarms
	return j
}

// await looks until the ports are right or the bound is over.
func (j *judgement) await(ctx context.Context, g *game, p played, in *instance) {
	for !j.right && ctx.Err() == nil {
		_, lasted := g.weather.between(p.began, time.Now())
		if time.Since(p.ended) > rightWithin+lasted {
			return
		}
		sleep(ctx, look)
		j.right, j.why = g.right(ctx, in)
		j.toRight = time.Since(p.ended)
	}
}

// awaitEnd waits for the consumers' word; false if the context ends.
func (g *game) awaitEnd(ctx context.Context, p played, in *instance) bool {
	until := time.Now().Add(endWithin)
	if len(p.harms) > 0 {
		until = time.Now() // it may not have begun
	}
	for time.Now().Before(until) && ctx.Err() == nil {
		if g.consumers.hasEnded(p, in.id, false) {
			break
		}
		sleep(ctx, look/2)
	}
	return ctx.Err() == nil
}

// right looks at all ports. A Neutron that does not answer is waited for.
func (g *game) right(ctx context.Context, in *instance) (bool, string) {
	ports, err := g.neutron.Ports(ctx, in.id)
	for until := time.Now().Add(novaPatience); err != nil && time.Now().Before(until) && ctx.Err() == nil; {
		sleep(ctx, look)
		ports, err = g.neutron.Ports(ctx, in.id)
	}
	switch {
	case err != nil:
		return false, err.Error()
	case len(ports) != len(in.ports):
		return false, fmt.Sprintf("%d ports instead of %d", len(ports), len(in.ports))
	}
	var faults []string
	for _, p := range ports {
		if right, why := duel.Judge(p, in.host); !right {
			faults = append(faults, p.ID+": "+why)
		}
	}
	return len(faults) == 0, strings.Join(faults, "; ")
}

// keepStory writes down all that is known of a handover that went wrong.
func (g *game) keepStory(p played, in *instance, j judgement) (string, error) {
	name := filepath.Join(g.directory, fmt.Sprintf("handover-%d.log", p.number))
	var lines []string
	lines = append(lines, p.calls...)
	lines = append(lines, g.proxy.about(in)...)
	slices.Sort(lines) // each begins with its time
	text := fmt.Sprintf("handover %d of instance %s, %s, guest on %s, recording %s, shared disks %t, faults %v and %v, stagger %s\n%s\n",
		p.number, in.id, p.request, in.host, p.stream, p.shared, p.faults, j.met, p.stagger, j.why)
	for _, h := range p.harms {
		text += "HURT NOVA: " + h.Error() + "\n"
	}
	text += "\n" + strings.Join(lines, "\n") + "\n\nthe consumers' audit lines of the instance:\n" + strings.Join(g.consumers.about(in.id), "\n") + "\n"
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		return "", errors.Join(errors.New("the story could not be kept"), err)
	}
	return name, nil
}
