package nova

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
)

// Call is one call to Neutron and its answer.
type Call struct {
	After  string // the function of Nova that makes it
	Method string
	Path   string
	Port   string // if it is about one
	Began  time.Time
	Took   time.Duration
	Status int    // 0: no answer
	Answer string // of a failure
}

func (c Call) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s: %d in %d ms %s", c.After, c.Method, c.Path, c.Status, c.Took.Milliseconds(), c.Answer))
}

// Network is Nova's side of the network API, with a client of Neutron that has
// Nova's rights. Calls are made in Nova's order, one after the other.
type Network struct {
	Client *gophercloud.ServiceClient
	// Report is told of every call; may be nil.
	Report func(Call)
	// Patience is for how long a call that got no answer is made again, as by
	// [neutron]http_retries. A create that then finds its row and a delete that
	// finds none have been answered before.
	Patience time.Duration
}

// again is the pause before a call that got no answer is made again.
const again = 500 * time.Millisecond

// call makes one call.
func (n Network) call(ctx context.Context, c Call, body, answer any) Call {
	until := time.Now().Add(n.Patience)
	for repeated := false; ; repeated = true {
		c = n.once(ctx, c, body, answer)
		if repeated && (c.Method == http.MethodPost && c.Status == http.StatusConflict || c.Method == http.MethodDelete && c.Status == http.StatusNotFound) {
			c.Status = http.StatusOK
		}
		if c.Status != 0 || ctx.Err() != nil || time.Now().After(until) {
			return c
		}
		select {
		case <-ctx.Done():
		case <-time.After(again):
		}
	}
}

func (n Network) once(ctx context.Context, c Call, body, answer any) Call {
	c.Began, c.Status, c.Answer = time.Now(), 0, ""
	options := &gophercloud.RequestOpts{JSONBody: body, JSONResponse: answer, OkCodes: []int{200, 201, 204}}
	response, err := n.Client.Request(ctx, c.Method, n.Client.ServiceURL(strings.TrimPrefix(c.Path, "/")), options)
	c.Took = time.Since(c.Began)
	var unexpected gophercloud.ErrUnexpectedResponseCode
	switch {
	case errors.As(err, &unexpected):
		c.Status, c.Answer = unexpected.Actual, string(unexpected.Body)
	case err != nil:
		c.Answer = err.Error()
	default:
		c.Status = response.StatusCode
	}
	if n.Report != nil {
		n.Report(c)
	}
	return c
}

func (c Call) ok() bool { return c.Status >= 200 && c.Status < 300 }
