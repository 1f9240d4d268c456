package binding

import (
	"net/url"

	"github.com/gophercloud/gophercloud/v2"
)

func portsURL(c *gophercloud.ServiceClient) string { return c.ServiceURL("ports") }

func portURL(c *gophercloud.ServiceClient, portID string) string {
	return c.ServiceURL("ports", url.PathEscape(portID))
}

func rootURL(c *gophercloud.ServiceClient, portID string) string {
	return c.ServiceURL("ports", url.PathEscape(portID), "bindings")
}

func resourceURL(c *gophercloud.ServiceClient, portID, host string) string {
	return c.ServiceURL("ports", url.PathEscape(portID), "bindings", url.PathEscape(host))
}

func activateURL(c *gophercloud.ServiceClient, portID, host string) string {
	return c.ServiceURL("ports", url.PathEscape(portID), "bindings", url.PathEscape(host), "activate")
}
