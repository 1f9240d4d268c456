package binding

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
)

// ClientOpts says where the cloud is and how patient to be. The zero value of every
// field is its default.
type ClientOpts struct {
	// Cloud is the entry of clouds.yaml; default OS_CLOUD. If both are empty, the
	// OS_* variables of an openrc file are read instead.
	Cloud string

	// OwnSecret has the entry of clouds.yaml keep the secret that stands in it: that of
	// OS_PASSWORD_FILE and OS_APPLICATION_CREDENTIAL_SECRET_FILE is another user's.
	OwnSecret bool

	// Region overrides OS_REGION_NAME and clouds.yaml.
	Region string

	// Interface overrides OS_INTERFACE and clouds.yaml: public, internal or admin.
	Interface string

	// ServerName is the name that the certificates of Keystone and of the catalog's services
	// have to be for; default the host of each URL.
	ServerName string

	// Version makes the user agent "earlybind/<version> gophercloud/...".
	Version string

	// RequestTimeout bounds one request, answer included; default 30 s. Callers
	// bound a call tighter by its context.
	RequestTimeout time.Duration

	// DialTimeout bounds the TCP handshake, and twice it both this and TLS'; default 5 s.
	DialTimeout time.Duration

	// IdleTimeout is how long an unused connection is kept warm; default 90 s.
	IdleTimeout time.Duration

	// MaxIdlePerHost is how many unused connections are kept warm; default 32:
	// the ports of an instance are activated at once, and Go's default of 2 would
	// make all others connect anew.
	MaxIdlePerHost int
}

func (o ClientOpts) withDefaults() ClientOpts {
	o.Cloud = cmp.Or(o.Cloud, os.Getenv("OS_CLOUD"))
	o.Interface = cmp.Or(o.Interface, os.Getenv("OS_INTERFACE"), os.Getenv("OS_ENDPOINT_TYPE"))
	o.Version = cmp.Or(o.Version, "unknown")
	o.RequestTimeout = cmp.Or(o.RequestTimeout, 30*time.Second)
	o.DialTimeout = cmp.Or(o.DialTimeout, 5*time.Second)
	o.IdleTimeout = cmp.Or(o.IdleTimeout, 90*time.Second)
	o.MaxIdlePerHost = cmp.Or(o.MaxIdlePerHost, 32)
	return o
}

// NewClient authenticates, finds Neutron in the catalog and returns a client of it.
// The client is safe for concurrent use and renews its token by itself. Credentials come from clouds.yaml
// and secure.yaml, or from the OS_* variables; in both cases OS_PASSWORD_FILE and
// OS_APPLICATION_CREDENTIAL_SECRET_FILE name a file that holds the secret, whose
// trailing newline is dropped. OS_CACERT, OS_CERT and OS_KEY name the files for TLS, before an
// entry's cacert, cert and key.
//
// An [*Error] tells what did not work, and [IsTransient] whether it is worth another
// try. No error quotes a secret, nor anything that can hold one.
func NewClient(ctx context.Context, opts ClientOpts) (*gophercloud.ServiceClient, error) {
	provider, endpoint, err := NewProvider(ctx, opts)
	if err != nil {
		return nil, err
	}
	// Gophercloud asks Neutron for its versions here.
	client, err := openstack.NewNetworkV2(provider, endpoint)
	if err != nil {
		err = setupFailed(OpFindNeutron, err)
		return nil, fmt.Errorf("region %q, interface %q: %w", endpoint.Region, endpoint.Availability, err)
	}
	return client, nil
}

// NewProvider is NewClient without the choice of a service, for those who need
// another one too. The endpoint options hold the region and the interface.
func NewProvider(ctx context.Context, opts ClientOpts) (*gophercloud.ProviderClient, gophercloud.EndpointOpts, error) {
	opts = opts.withDefaults()
	auth, endpoint, tlsConfig, err := credentials(opts)
	if err != nil {
		return nil, endpoint, fmt.Errorf("OpenStack credentials: %w", err)
	}
	provider, err := openstack.NewClient(auth.IdentityEndpoint)
	if err != nil {
		return nil, endpoint, fmt.Errorf("OpenStack credentials: %w", err)
	}
	provider.UserAgent.Prepend("earlybind/" + opts.Version)
	provider.HTTPClient = http.Client{
		Timeout:       opts.RequestTimeout,
		Transport:     transport(opts, tlsConfig),
		CheckRedirect: checkRedirect,
	}
	if err := openstack.Authenticate(ctx, provider, auth); err != nil {
		return nil, endpoint, fmt.Errorf("%s: %w", account(opts.Cloud, auth), setupFailed(OpAuthenticate, err))
	}
	return provider, endpoint, nil
}

// CheckCredentials tells of what [NewProvider] would refuse before it asks anybody: a fault of clouds.yaml, of
// the OS_* variables, or of the files that they name.
func CheckCredentials(opts ClientOpts) error {
	if _, _, _, err := credentials(opts.withDefaults()); err != nil {
		return fmt.Errorf("OpenStack credentials: %w", err)
	}
	return nil
}

// transport keeps HTTP/1.1: a connection for each request in flight, which one lost
// packet does not stall together. It never repeats a PUT or DELETE that may have
// reached the server.
func transport(opts ClientOpts, tlsConfig *tls.Config) *http.Transport {
	dialer := &net.Dialer{Timeout: opts.DialTimeout, KeepAlive: 15 * time.Second}
	return &http.Transport{
		Proxy: proxyOf,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			return checked(ctx, conn, err)
		},
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, 2*opts.DialTimeout)
			defer cancel()
			conn, err := (&tls.Dialer{NetDialer: dialer, Config: tlsConfig}).DialContext(ctx, network, address)
			return checked(ctx, conn, err)
		},
		TLSClientConfig:     tlsConfig, // through a proxy
		TLSHandshakeTimeout: opts.DialTimeout,
		MaxIdleConnsPerHost: opts.MaxIdlePerHost,
		IdleConnTimeout:     opts.IdleTimeout,
	}
}

// checkRedirect lets only reads be redirected, and only within their server. Go
// would make a GET of a PUT or DELETE that is redirected, whose 200 then says that
// what was not written is; and would send the token to whatever server was named.
func checkRedirect(r *http.Request, via []*http.Request) error {
	first := via[0]
	if first.Method != http.MethodGet || r.URL.Host != first.URL.Host || r.URL.Scheme != first.URL.Scheme || len(via) > 3 {
		return http.ErrUseLastResponse
	}
	return nil
}

type checkKey struct{}

// condition is the check of [OnlyIf]. One request at a time is sent with its context,
// and write tells whether that is one.
type condition struct {
	check func() bool
	write atomic.Bool
}

// OnlyIf has the check asked immediately before each write that is sent with the
// context, and withholds the write with [ErrWithheld] if it says no. A token that has
// expired is renewed within a call and the request sent again, seconds later if
// Keystone is slow, and a connection may have to be made first: a check before the
// call covers neither. Reads are not checked; what is sent with the context at the same
// time must be reads. Clients of [NewClient] and [NewProvider] ask, and who calls [Check].
func OnlyIf(ctx context.Context, check func() bool) context.Context {
	return context.WithValue(ctx, checkKey{}, &condition{check: check})
}

// checked asks once more when a connection has been made, which can have taken seconds.
func checked(ctx context.Context, conn net.Conn, err error) (net.Conn, error) {
	c, has := ctx.Value(checkKey{}).(*condition)
	if err != nil || !has || !c.write.Load() || c.check() {
		return conn, err
	}
	_ = conn.Close()
	return nil, ErrWithheld
}

// proxyOf is [http.ProxyFromEnvironment], and where the check of [OnlyIf] is asked:
// a transport calls it for each request, last before it takes a connection, and
// gives a request up if it fails. A RoundTripper of our own would cost each request
// a goroutine: [http.Client] lets time out by context an [http.Transport] only.
func proxyOf(r *http.Request) (*url.URL, error) {
	if err := Check(r); err != nil {
		return nil, err
	}
	return http.ProxyFromEnvironment(r)
}

// Check asks the check of [OnlyIf] for a request that is about to be sent, and gives
// [ErrWithheld] if it says no. It is for transports of one's own.
func Check(r *http.Request) error {
	c, has := r.Context().Value(checkKey{}).(*condition)
	if !has {
		return nil
	}
	// Keystone is asked for a token by a POST without one.
	c.write.Store(r.Method != http.MethodGet && r.Header.Get("X-Auth-Token") != "")
	if c.write.Load() && !c.check() {
		return ErrWithheld
	}
	return nil
}

// credentials reads clouds.yaml or the OS_* variables. The latter are given to the
// same parser as a cloud without secrets, since gophercloud's AuthOptionsFromEnv
// does not know OS_USER_DOMAIN_NAME and OS_PROJECT_DOMAIN_NAME, which every openrc
// file has.
func credentials(opts ClientOpts) (gophercloud.AuthOptions, gophercloud.EndpointOpts, *tls.Config, error) {
	var options []clouds.ParseOption
	origin := "the OS_* variables"
	if opts.Cloud != "" {
		found, err := findClouds()
		if err != nil {
			return gophercloud.AuthOptions{}, gophercloud.EndpointOpts{}, nil, err
		}
		origin = fmt.Sprintf("entry %q of %s", opts.Cloud, found.path)
		if err := found.has(opts.Cloud); err != nil {
			return gophercloud.AuthOptions{}, gophercloud.EndpointOpts{}, nil, fmt.Errorf("%s: %w", origin, err)
		}
		options = append(options, found.options(opts.Cloud)...)
	} else {
		yaml, err := cloudFromEnv()
		if err != nil {
			return gophercloud.AuthOptions{}, gophercloud.EndpointOpts{}, nil, err
		}
		options = append(options,
			clouds.WithCloudName(envCloud),
			clouds.WithCloudsYAML(bytes.NewReader(yaml)),
			clouds.WithPassword(os.Getenv("OS_PASSWORD")),
			clouds.WithApplicationCredentialSecret(os.Getenv("OS_APPLICATION_CREDENTIAL_SECRET")),
		)
	}
	files := map[string]func(string) clouds.ParseOption{
		"OS_PASSWORD_FILE":                      clouds.WithPassword,
		"OS_APPLICATION_CREDENTIAL_SECRET_FILE": clouds.WithApplicationCredentialSecret,
	}
	if opts.Cloud != "" && opts.OwnSecret {
		files = nil
	}
	for variable, option := range files {
		secret, err := secretFile(variable)
		if err != nil {
			return gophercloud.AuthOptions{}, gophercloud.EndpointOpts{}, nil, err
		}
		if secret != "" {
			options = append(options, option(secret))
		}
	}
	if opts.Region != "" {
		options = append(options, clouds.WithRegion(opts.Region))
	}
	if opts.Interface != "" {
		options = append(options, clouds.WithEndpointType(opts.Interface))
	}

	auth, endpoint, tlsConfig, err := parse(options)
	if err != nil {
		return auth, endpoint, nil, fmt.Errorf("%s: %w", origin, ofTLS(withoutQuotes(err), opts.Cloud != ""))
	}
	if err := checkAuthURL(auth.IdentityEndpoint); err != nil {
		return auth, endpoint, nil, fmt.Errorf("%s: %w", origin, err)
	}
	if err := checkAccount(auth, opts.Cloud != ""); err != nil {
		return auth, endpoint, nil, fmt.Errorf("%s: %w", origin, err)
	}
	auth.AllowReauth = true
	tlsConfig.ServerName = opts.ServerName
	// A server closes what is idle for seconds, and a pre-copy can take minutes: the connection that an activate then
	// needs is made without certificates.
	tlsConfig.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	return auth, endpoint, tlsConfig, nil
}

// account tells as whom somebody authenticates, and where; not by what.
func account(entry string, a gophercloud.AuthOptions) string {
	var words []string
	for _, w := range []struct{ what, value string }{
		{"entry", entry},
		{"application credential", cmp.Or(a.ApplicationCredentialName, a.ApplicationCredentialID)},
		{"user", cmp.Or(a.Username, a.UserID)},
		{"project", cmp.Or(a.TenantName, a.TenantID)},
		{"auth URL", a.IdentityEndpoint},
	} {
		if w.value != "" {
			words = append(words, fmt.Sprintf("%s %q", w.what, w.value))
		}
	}
	return strings.Join(words, ", ")
}

const envCloud = "environment"

// cloudFromEnv is a clouds.yaml with what OS_* says, secrets left out.
func cloudFromEnv() ([]byte, error) {
	env := func(names ...string) string {
		for _, name := range names {
			if v := os.Getenv(name); v != "" {
				return v
			}
		}
		return ""
	}
	if env("OS_AUTH_URL") == "" {
		return nil, ErrNoCloud
	}
	cloud := clouds.Cloud{
		AuthInfo: &clouds.AuthInfo{
			AuthURL:                   env("OS_AUTH_URL"),
			Username:                  env("OS_USERNAME"),
			UserID:                    env("OS_USER_ID", "OS_USERID"),
			ProjectName:               env("OS_PROJECT_NAME", "OS_TENANT_NAME"),
			ProjectID:                 env("OS_PROJECT_ID", "OS_TENANT_ID"),
			UserDomainName:            env("OS_USER_DOMAIN_NAME"),
			UserDomainID:              env("OS_USER_DOMAIN_ID"),
			ProjectDomainName:         env("OS_PROJECT_DOMAIN_NAME"),
			ProjectDomainID:           env("OS_PROJECT_DOMAIN_ID"),
			DomainName:                env("OS_DOMAIN_NAME"),
			DomainID:                  env("OS_DOMAIN_ID"),
			SystemScope:               env("OS_SYSTEM_SCOPE"),
			ApplicationCredentialID:   env("OS_APPLICATION_CREDENTIAL_ID"),
			ApplicationCredentialName: env("OS_APPLICATION_CREDENTIAL_NAME"),
		},
	}
	switch strings.ToLower(env("OS_INSECURE")) {
	case "1", "true", "yes":
		verify := false
		cloud.Verify = &verify
	}
	// JSON is YAML.
	return json.Marshal(clouds.Clouds{Clouds: map[string]clouds.Cloud{envCloud: cloud}})
}

func secretFile(variable string) (string, error) {
	path := os.Getenv(variable)
	if path == "" {
		return "", nil
	}
	secret, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", variable, err)
	}
	if s := strings.TrimRight(string(secret), "\r\n"); s != "" {
		return s, nil
	}
	return "", fmt.Errorf("%s: %s is empty", variable, path)
}

// checkAuthURL refuses a URL that an error would have to quote with a password in
// it.
func checkAuthURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return errors.New("the auth URL is not a URL")
	case u.User != nil:
		return errors.New("the auth URL holds a user or a password; they belong elsewhere")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return errors.New("the auth URL is not an http or https URL")
	}
	return nil
}

var yamlLine = regexp.MustCompile(`line \d+`)

// withoutQuotes keeps only the line of an error of the YAML parser, which quotes
// what it could not understand.
func withoutQuotes(err error) error {
	if !strings.Contains(err.Error(), "yaml: ") {
		return err
	}
	return fmt.Errorf("clouds.yaml or secure.yaml is not what it should be %s",
		cmp.Or(yamlLine.FindString(err.Error()), "(no line told)"))
}
