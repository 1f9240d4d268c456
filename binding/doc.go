/*
Package binding manages the bindings of a Neutron port: one row per port and
host, of which at most one is ACTIVE. gophercloud has no package for
/v2.0/ports/{id}/bindings; this one has gophercloud's shape, so that it could
become one.

# Contract

Two things are called ACTIVE and are never mixed here: the status of a row
([StatusActive], [StatusInactive]) and the status of a port ([PortActive],
[PortDown], [PortBuild]).

No function retries, and none is safe to believe alone. After every write,
whatever it answered, read the rows again with [List]:

  - a 200 of [Activate] can lie. Neutron runs it as two transactions; when the
    ACTIVE row is deleted between them, it answers 200 with the other host's row
    and leaves the port without an ACTIVE row. Activate compares the answer with
    what was asked for and returns [ErrOtherHost].
  - a 500 can come after the row has become ACTIVE. [OutcomeUnknown] tells for an
    error whether the write may have happened, or may still happen.
  - no answer, or one that a proxy gave in Neutron's place, can come before the
    write has taken effect. [MayStillHappen] tells whether the rows that are read
    next prove nothing yet.

Activating a row unbinds the row that was ACTIVE: its vif_type becomes unbound
and its vif_details are gone, profile and vnic_type stay. Activating that row
again therefore leaves the port ACTIVE but unbound; [UpdateProfile] afterwards
binds it. [Delete] removes an ACTIVE row as readily as any other.

Every error of a call is an [*Error]: it tells the operation, the port, the
host, the HTTP status, Neutron's own error type and Neutron's request id, and
matches the Err* variables of this package with [errors.Is]. No error and no
value of this package holds a token or a password.

Numbers in profiles and vif_details are kept as [json.Number], so that a profile
that is read and written back is equal to what it was.

The facts in the comments were seen on Neutron 21.0.0 (Zed) and 26.0.3 (2025.1)
with ML2/openvswitch unless they say otherwise; "code" means that they were read
in Neutron's source only.

Example to List the Rows of a Port

	rows, err := binding.List(ctx, client, portID).Extract()
	if err != nil {
		panic(err)
	}

	active, ok := binding.ActiveRow(rows)
	if !ok {
		panic("the port has no ACTIVE row")
	}

	fmt.Println(active.Host, active.Bound())

Example to Create a Row

	createOpts := binding.CreateOpts{
		Host:     "compute2",
		VNICType: "normal",
		Profile:  map[string]any{binding.ProfileMigratingTo: "compute2"},
	}

	row, err := binding.Create(ctx, client, portID, createOpts).Extract()
	if err != nil {
		panic(err)
	}

Example to Activate a Row

	row, err := binding.Activate(ctx, client, portID, "compute2").Extract()
	switch {
	case errors.Is(err, binding.ErrAlreadyActive):
		// someone else, mostly Nova, was first
	case binding.MayStillHappen(err):
		// read the rows, and again for a minute
	case binding.OutcomeUnknown(err):
		// read the rows
	case err != nil:
		panic(err)
	}

Example to Delete a Row

	err := binding.Delete(ctx, client, portID, "compute2").ExtractErr()
	if err != nil {
		panic(err)
	}

Example to Bind an ACTIVE Row that is Unbound

	port, err := binding.GetPort(ctx, client, portID)
	if err != nil {
		panic(err)
	}

	profile := binding.WithoutMigratingTo(port.Profile)
	port, err = binding.UpdateProfile(ctx, client, portID, profile, port.RevisionNumber)
	if errors.Is(err, binding.ErrChanged) {
		// someone changed the port: read it again and decide again
	}
*/
package binding
