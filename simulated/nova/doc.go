// Package nova plays Nova's part in a live migration: its calls to Neutron
// ([Network]) and its notifications ([Notifications]), for harnesses that need
// hundreds of migrations on a machine that can run one.
//
// What is called when is read in Nova's source (master of August 2026; the
// functions of nova/network/neutron.py that are named here are the same in Zed
// and 2025.1 but for the binding of SR-IOV devices) and was seen on the wire of
// Nova 26.2.2. Reads that lead to no write (get_instance_nw_info) are left out.
//
//	step                                   sender       calls                                  notification
//	conductor, before anything else        conductor    [Network.BindPortsToHost]
//	_do_pre_live_migration                 destination  [Network.SetUpMigration]               pre
//	_post_live_migration                   source       [Network.MigrateInstanceStart]         post
//	_do_post_live_migration_at_destination destination  [Network.MigrateInstanceFinish], then  post_dest
//	                                                    [Network.TearDownSource]
//	_rollback_live_migration               source       [Network.TearDownDestination], where   rollback
//	                                                    the disks are shared
//	_do_rollback_live_migration_at_dest... destination  the same, where they are not           rollback_dest
package nova
