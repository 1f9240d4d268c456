package binding

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
)

// ProbePermission returns nil if the user may write rows, and [ErrForbidden] if
// not. It touches nothing: it creates a row for a port that does not exist, which
// Neutron 26.0.3 answers with 403 to a user who may not and with 404 or 500 to one
// who may. Activate and delete of what is missing tell nothing.
//
// It says something from Neutron 2023.2 on. Before, without rules for bindings, a
// user that may not can get the same 404 and 500.
func ProbePermission(ctx context.Context, client *gophercloud.ServiceClient) error {
	_, err := Create(ctx, client, randomUUID(), CreateOpts{Host: "earlybind-probe"}).Extract()
	var e *Error
	switch {
	case err == nil:
		return &Error{Op: OpProbe, Status: http.StatusCreated, Message: "neutron created a row for a port that does not exist"}
	case errors.Is(err, ErrPortNotFound), errors.Is(err, ErrInternal), errors.Is(err, ErrNotBindable):
		return nil
	case errors.As(err, &e):
		e.Op, e.PortID, e.Host = OpProbe, "", ""
	}
	return err
}

// Roles are those of the client's token, as Keystone has given it. What each allows is Neutron's to say.
func Roles(client *gophercloud.ServiceClient) ([]string, error) {
	token, ok := client.GetAuthResult().(interface{ ExtractRoles() ([]tokens.Role, error) })
	if !ok {
		return nil, errors.New("Keystone's answer tells no roles")
	}
	roles, err := token.ExtractRoles()
	var names []string
	for _, r := range roles {
		names = append(names, r.Name)
	}
	return names, err
}

func randomUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}
