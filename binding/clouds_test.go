package binding_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	th "github.com/gophercloud/gophercloud/v2/testhelper"

	"github.com/earlybind/earlybind/binding"
)

const profiled = "clouds: {lab: {profile: vendor, auth: {username: u, password: verysecret}}}"

// An entry that names a profile has a second file, and what is wrong with that is told of it.
func TestAProfileThatCannotBeReadNamesItsFile(t *testing.T) {
	const mayNot = "the program's user must be able to read "
	for name, c := range map[string]struct {
		content string // of clouds-public.yaml
		prepare func(t *testing.T, public string)
		want    string // behind its name
		before  string // its name
	}{
		"missing":       {prepare: away, before: "there is no ./clouds-public.yaml, nor ", want: ", nor /etc/openstack/clouds-public.yaml"},
		"may not":       {prepare: asDirectory, before: mayNot, want: " (is a directory)"},
		"yaml quotes":   {content: "public-clouds:\n  vendor:\n    auth: verysecret", want: " is not what it should be line 3"},
		"yaml syntax":   {content: "public-clouds:\n\tvendor: verysecret", want: " is not what it should be line 2"},
		"nothing in it": {content: "\n", want: " is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			newCloud(t)
			config := t.TempDir()
			t.Setenv("XDG_CONFIG_HOME", config)
			t.Setenv("OS_CLOUD", "lab")
			t.Setenv("OS_CLIENT_CONFIG_FILE", file(t, "clouds.yaml", profiled))
			public := filepath.Join(config, "openstack", "clouds-public.yaml")
			th.AssertNoErr(t, os.Mkdir(filepath.Dir(public), 0o700))
			th.AssertNoErr(t, os.WriteFile(public, []byte(c.content), 0o600))
			if c.prepare != nil {
				c.prepare(t, public)
			}
			_, err := binding.NewClient(t.Context(), binding.ClientOpts{})
			if err == nil || !strings.Contains(err.Error(), `/clouds.yaml: it names a profile, and `+c.before+public+c.want) {
				t.Fatalf("error: %v", err)
			}
			if text := err.Error(); strings.Contains(text, "\n") || strings.Contains(text, "verysecret") {
				t.Errorf("error: %v", err)
			}
		})
	}
}

func TestAnEmptyCloudsYAMLIsSaidToBeEmpty(t *testing.T) {
	newCloud(t)
	t.Setenv("OS_CLIENT_CONFIG_FILE", file(t, "clouds.yaml", ""))
	if _, err := binding.NewClient(t.Context(), binding.ClientOpts{Cloud: "lab"}); err == nil || !strings.HasSuffix(err.Error(), "/clouds.yaml: it is empty") {
		t.Errorf("error: %v", err)
	}
}

func away(t *testing.T, path string) {
	t.Helper()
	th.AssertNoErr(t, os.Remove(path))
}

// asDirectory stands for what may not be read: root may read every file.
func asDirectory(t *testing.T, path string) {
	t.Helper()
	away(t, path)
	th.AssertNoErr(t, os.Mkdir(path, 0o700))
}

// A profile is read where one is named, and looked for as a clouds.yaml is.
func TestAnEntryIsPutTogetherWithItsProfile(t *testing.T) {
	cloud := newCloud(t)
	config := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", config)
	dir := filepath.Join(config, "openstack")
	th.AssertNoErr(t, os.Mkdir(dir, 0o700))
	entry := cloudsYAML(cloud, `password: "in yaml"`)
	inProfile := strings.NewReplacer("region_name: RegionOne", "profile: vendor", "interface: internal", "interface: public")
	th.AssertNoErr(t, os.WriteFile(filepath.Join(dir, "clouds.yaml"), []byte(inProfile.Replace(entry)), 0o600))
	public := filepath.Join(dir, "clouds-public.yaml")
	th.AssertNoErr(t, os.WriteFile(public, []byte("public-clouds: {vendor: {region_name: RegionTwo}}"), 0o600))
	client, err := binding.NewClient(t.Context(), binding.ClientOpts{Cloud: "lab"})
	th.AssertNoErr(t, err)
	th.AssertEquals(t, cloud.URL+"/two/", client.Endpoint)

	asDirectory(t, public)
	th.AssertNoErr(t, os.WriteFile(filepath.Join(dir, "clouds.yaml"), []byte(entry), 0o600))
	_, err = binding.NewClient(t.Context(), binding.ClientOpts{Cloud: "lab"})
	th.AssertNoErr(t, err)
}

// Where none of the places has a file, the variable is named that says where there is one; not where it says so already.
func TestWhereAFileIsLookedForIsTold(t *testing.T) {
	const elsewhere = "; one elsewhere is set by OS_CLIENT_CONFIG_FILE"
	newCloud(t)
	if err := binding.CheckCredentials(binding.ClientOpts{Cloud: "lab"}); err == nil || !strings.HasSuffix(err.Error(), "/etc/openstack/clouds.yaml"+elsewhere) {
		t.Errorf("error: %v", err)
	}
	t.Setenv("OS_CLIENT_CONFIG_FILE", "/nofile")
	if err := binding.CheckCredentials(binding.ClientOpts{Cloud: "lab"}); err == nil || strings.Contains(err.Error(), elsewhere) {
		t.Errorf("error: %v", err)
	}
}

// What gophercloud misses is named as it is written: in an entry, or in the environment.
func TestWhatIsMissingIsNamedAsItIsSet(t *testing.T) {
	const whole = "auth_url: http://127.0.0.1:1/v3, username: u, password: verysecret, user_domain_name: Default, project_name: service, project_domain_name: Default"
	none := file(t, "ca.pem", "no certificate")
	for name, c := range map[string]struct {
		env  map[string]string
		auth string // of the entry; none: the variables
		more string // of the entry, beside its auth
		want string // $ is the file without a certificate
	}{
		"project's domain":             {env: map[string]string{"OS_PROJECT_DOMAIN_NAME": ""}, want: "the OS_* variables: one domain of the project is needed: OS_PROJECT_DOMAIN_NAME or OS_PROJECT_DOMAIN_ID"},
		"project's domain, entry":      {auth: strings.Replace(whole, ", project_domain_name: Default", "", 1), want: "one domain of the project is needed: project_domain_name or project_domain_id"},
		"user's domain":                {env: map[string]string{"OS_USER_DOMAIN_NAME": ""}, want: "one domain of the user is needed: OS_USER_DOMAIN_NAME or OS_USER_DOMAIN_ID"},
		"user, entry":                  {auth: strings.Replace(whole, "username: u, ", "", 1), want: "one user is needed: username or user_id"},
		"password, entry":              {auth: strings.Replace(whole, "password: verysecret, ", "", 1), want: "a secret is needed, here or in the file that OS_PASSWORD_FILE names: password ("},
		"application credential":       {env: map[string]string{"OS_APPLICATION_CREDENTIAL_ID": "id", "OS_PASSWORD": ""}, want: "a secret is needed, here or in the file that OS_APPLICATION_CREDENTIAL_SECRET_FILE names: OS_APPLICATION_CREDENTIAL_SECRET ("},
		"user's id with a domain":      {env: map[string]string{"OS_USERNAME": "", "OS_USER_ID": "id"}, want: "a user's id goes without a domain: OS_USER_DOMAIN_NAME or OS_USER_DOMAIN_ID"},
		"no CA":                        {env: map[string]string{"OS_CACERT": none}, want: `OS_CACERT: failed to parse the CA Cert from "$"`},
		"missing CA":                   {env: map[string]string{"OS_CACERT": "/nofile"}, want: "OS_CACERT: failed to open the CA cert file: open /nofile"},
		"no CA, entry":                 {auth: whole, more: ", cacert: " + none, want: `cacert: failed to parse the CA Cert from "$"`},
		"no CA, variable before entry": {env: map[string]string{"OS_CACERT": none}, auth: whole, more: ", cacert: /nofile", want: `OS_CACERT: failed to parse the CA Cert from "$"`},
		"certificate without a key":    {env: map[string]string{"OS_CERT": none}, want: "OS_CERT and OS_KEY: client cert is set"},
	} {
		t.Run(name, func(t *testing.T) {
			env(t, newCloud(t), map[string]string{"OS_PASSWORD": "verysecret"})
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			if c.auth != "" {
				t.Setenv("OS_CLOUD", "lab")
				t.Setenv("OS_CLIENT_CONFIG_FILE", file(t, "clouds.yaml", "clouds: {lab: {auth: {"+c.auth+"}"+c.more+"}}"))
			}
			want := strings.ReplaceAll(c.want, "$", none)
			for name, err := range map[string]error{"CheckCredentials": binding.CheckCredentials(binding.ClientOpts{}), "NewClient": clientFault(t)} {
				if err == nil || !strings.Contains(err.Error(), ": "+want) || strings.Contains(err.Error(), "verysecret") {
					t.Errorf("%s: %v, want %s", name, err, want)
				}
			}
		})
	}
}

func clientFault(t *testing.T) error {
	t.Helper()
	_, err := binding.NewClient(t.Context(), binding.ClientOpts{})
	return err
}
