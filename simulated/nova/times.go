package nova

import "time"

// How long Nova takes between what it does, apart from its calls to Neutron. Seen on
// Nova 26.2.2 and 31.0.0; where a range was seen, its middle.
const (
	ConductorToPre = 500 * time.Millisecond // from the INACTIVE rows to pre.start, 0.3-0.7 s
	PreToStarted   = 300 * time.Millisecond // from pre.start to the destination's STARTED
	LeftToPost     = 300 * time.Millisecond // from STOPPED/MIGRATED to post.start: it asks libvirt every 0.5 s
	PostToFinish   = 700 * time.Millisecond // from post.start to the destination's part: it cleans up on the source first
	FailedToNova   = 150 * time.Millisecond // from the driver's failure to _rollback.start, 80-210 ms
)
