package packages

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v2"

	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/internal/config"
	"github.com/earlybind/earlybind/internal/health"
	"github.com/earlybind/earlybind/internal/nettest"
	"github.com/earlybind/earlybind/internal/program"
	"github.com/earlybind/earlybind/publisher"
)

const examples = "../../deploy/examples/"

// of are the settings of a program.
func of(name string) []any {
	return []any{&program.Settings{}, map[string]any{"consumer": &consumer.Settings{}, "publisher": &publisher.Settings{}}[name]}
}

// takes has a program take settings as it does when it starts: it has each of these names, and no fault with a value. What is
// commented out, with a #, has to have a name of its own. A file that is named is in a directory that is mounted.
func takes(t *testing.T, who, name string, settings map[string]string, mounted []string) {
	t.Run(who, func(t *testing.T) {
		var known []string
		for _, v := range config.Variables("EARLYBIND", of(name)...) {
			known = append(known, v.Name)
		}
		secret := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(secret, []byte("secret\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for variable, value := range settings {
			bare, commented := strings.CutPrefix(variable, "#")
			if strings.HasSuffix(bare, "_FILE") {
				if !slices.Contains(mounted, filepath.Dir(value)) {
					t.Errorf("%s=%s is in none of %q", variable, value, mounted)
				}
				value = secret
			}
			if strings.HasPrefix(bare, "EARLYBIND_") && !slices.Contains(known, bare) {
				t.Errorf("%s is no setting of the %s", bare, name)
			}
			if !commented {
				t.Setenv(bare, value)
			}
		}
		if err := config.Load("EARLYBIND", of(name)...); err != nil {
			t.Error(err)
		}
	})
}

// answers has a program that lives, and is ready, asked for a path.
func answers(t *testing.T, path string) int {
	t.Helper()
	address := nettest.FreeAddress(t)
	board := health.NewBoard()
	board.Has("broker", "connected")
	stop, err := health.Serve(address, board, http.NotFoundHandler())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	got, err := http.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return got.StatusCode
}

// lines are the settings of an environment's file. Those that are commented out come with a #.
func lines(text string) map[string]string {
	found := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\s*(#?(?:EARLYBIND|OS)_\w+)=(.*)$`).FindAllStringSubmatch(text, -1) {
		found[m[1]] = m[2]
	}
	return found
}

// Of a manifest, what is held to something.
type manifest struct {
	Kind     string
	Metadata struct{ Name, Namespace string }
	Spec     struct {
		Replicas int
		Selector struct {
			MatchLabels map[string]string `yaml:"matchLabels"`
		}
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				ServiceLinks *bool `yaml:"enableServiceLinks"`
				Grace        int   `yaml:"terminationGracePeriodSeconds"`
				Security     struct {
					NonRoot bool `yaml:"runAsNonRoot"`
					User    int  `yaml:"runAsUser"`
				} `yaml:"securityContext"`
				Containers []container
				Volumes    []struct{ Name string }
			}
		}
	}
}

type container struct {
	Name, Image string
	Command     []string
	Security    struct {
		Escalation   *bool `yaml:"allowPrivilegeEscalation"`
		ReadOnly     bool  `yaml:"readOnlyRootFilesystem"`
		Capabilities struct{ Drop, Add []string }
	} `yaml:"securityContext"`
	Env []struct {
		Name, Value string
		From        struct {
			Field struct {
				Path string `yaml:"fieldPath"`
			} `yaml:"fieldRef"`
		} `yaml:"valueFrom"`
	}
	Ports []struct {
		Name string
		Port int `yaml:"containerPort"`
	}
	Liveness  probe `yaml:"livenessProbe"`
	Readiness probe `yaml:"readinessProbe"`
	Mounts    []struct {
		Name     string
		Path     string `yaml:"mountPath"`
		ReadOnly bool   `yaml:"readOnly"`
	} `yaml:"volumeMounts"`
}

type probe struct {
	Get struct{ Path, Port string } `yaml:"httpGet"`
}

// The pods of the manifest run as the images do, the programs take their settings, and answer where the probes ask.
func TestKubernetesExample(t *testing.T) {
	const file = examples + "kubernetes/earlybind.yaml"
	text := read(t, file)
	found := map[string]manifest{}
	for from := yaml.NewDecoder(strings.NewReader(text)); ; {
		var m manifest
		if err := from.Decode(&m); err != nil {
			if len(found) == 0 || err.Error() != "EOF" {
				t.Fatal(err)
			}
			break
		}
		found[m.Kind] = m
	}
	users := map[string]string{}
	for _, image := range regexp.MustCompile(`(?ms)^FROM base AS (\w+)$.*?^USER (\d+):`).FindAllStringSubmatch(read(t, "../../deploy/container/Dockerfile"), -1) {
		users[image[1]] = image[2]
	}
	for kind, name := range map[string]string{"Deployment": "consumer", "DaemonSet": "publisher"} {
		m := found[kind]
		pod := m.Spec.Template.Spec
		if len(pod.Containers) != 1 {
			t.Fatalf("%s: %+v", kind, m)
		}
		c := pod.Containers[0]
		for label, value := range m.Spec.Selector.MatchLabels {
			if m.Spec.Template.Metadata.Labels[label] != value {
				t.Errorf("%s: selects %v, has %v", kind, m.Spec.Selector.MatchLabels, m.Spec.Template.Metadata.Labels)
			}
		}
		if pod.ServiceLinks == nil || *pod.ServiceLinks || pod.Grace < 30 {
			t.Errorf("%s: service links %v, grace %d s", kind, pod.ServiceLinks, pod.Grace)
		}
		if s := c.Security; !pod.Security.NonRoot || fmt.Sprint(pod.Security.User) != users[name] || !s.ReadOnly || s.Escalation == nil || *s.Escalation ||
			!slices.Equal(s.Capabilities.Drop, []string{"ALL"}) || s.Capabilities.Add != nil {
			t.Errorf("%s: pod %+v, container %+v, the image's user is %s", kind, pod.Security, s, users[name])
		}
		if c.Image != "REGISTRY/earlybind-"+name+":VERSION" {
			t.Errorf("%s: %s", kind, c.Image)
		}
		var mounted, volumes []string
		for _, volume := range pod.Volumes {
			volumes = append(volumes, volume.Name)
		}
		for _, mount := range c.Mounts {
			mounted = append(mounted, mount.Path)
			if !slices.Contains(volumes, mount.Name) || mount.ReadOnly == (mount.Path == "/var/lib/earlybind") {
				t.Errorf("%s: mount %+v of %q", kind, mount, volumes)
			}
		}
		settings := map[string]string{}
		for _, e := range c.Env {
			settings[e.Name] = strings.ReplaceAll(e.Value, "$(POD_IP)", "10.0.0.7")
			if e.From.Field.Path != "" && e.Name != "POD_IP" {
				t.Errorf("%s: %s is of %s", kind, e.Name, e.From.Field.Path)
			}
		}
		delete(settings, "POD_IP")
		if strings.Contains(strings.Join(c.Command, " "), "/host.env") { // as the comment has it made
			maps.Copy(settings, lines(strings.ReplaceAll(regexp.MustCompile(`printf '(.*)'`).FindStringSubmatch(text)[1], `\n`, "\n")))
		}
		takes(t, kind, name, settings, mounted)
		_, port, _ := strings.Cut(settings["EARLYBIND_HEALTH"], ":")
		if len(c.Ports) != 1 || c.Ports[0].Name != "health" || fmt.Sprint(c.Ports[0].Port) != port {
			t.Errorf("%s: ports %v, health is at %s", kind, c.Ports, port)
		}
		for what, get := range map[string]probe{"/live": c.Liveness, "/ready": c.Readiness} {
			if get.Get.Port != "health" || get.Get.Path != what || answers(t, get.Get.Path) != http.StatusOK {
				t.Errorf("%s: for %s it asks %+v", kind, what, get)
			}
		}
	}
	if m := found["Deployment"]; m.Spec.Replicas < 2 {
		t.Errorf("%d consumers", m.Spec.Replicas)
	}
	if budget, is := found["PodDisruptionBudget"].Spec.Selector.MatchLabels, found["Deployment"].Spec.Template.Metadata.Labels; fmt.Sprint(budget) != fmt.Sprint(is) {
		t.Errorf("the budget is of %v, the consumers are %v", budget, is)
	}
}

// play is one of kolla's playbook.
type play struct {
	Name, Hosts string
	Vars        struct {
		Program, Image, Settings, Volumes string
		Port                              int `yaml:"health_port"`
	}
	Tasks []map[string]any
}

// template fills in what is between braces: names alone, the values of vars.yml, and what a host knows of itself.
func template(t *testing.T, text string, values map[string]string) string {
	t.Helper()
	for range 3 {
		text = regexp.MustCompile(`\{\{ ([\w.]+) \}\}`).ReplaceAllStringFunc(text, func(braced string) string {
			value, there := values[strings.Trim(braced, "{} ")]
			if !there {
				t.Errorf("nothing is known of %s", braced)
			}
			return value
		})
	}
	return text
}

// The plays for kolla have settings that the programs take, and run the containers as docs/install.md does.
func TestKollaExample(t *testing.T) {
	values := map[string]string{}
	if err := yaml.UnmarshalStrict([]byte(read(t, examples+"kolla/vars.yml")), &values); err != nil {
		t.Fatal(err)
	}
	values["nova_host"] = "compute1"
	var plays []play
	if err := yaml.Unmarshal([]byte(read(t, examples+"kolla/earlybind.yml")), &plays); err != nil {
		t.Fatal(err)
	}
	needsOpenStackClient(t, plays)
	var tasks []map[string]any
	if err := yaml.Unmarshal([]byte(read(t, examples+"kolla/container.yml")), &tasks); err != nil {
		t.Fatal(err)
	}
	container := fmt.Sprint(tasks)
	guide := read(t, "../../docs/install.md")
	flags := regexp.MustCompile(`--(?:stop-timeout|network|log-driver|cap-drop|security-opt) \S+|--read-only|--env-file /etc/earlybind/`)
	for _, flag := range flags.FindAllString(guide[strings.Index(guide, "docker run -d"):], -1) {
		if !strings.Contains(container, flag) {
			t.Errorf("container.yml does not have %s, as docs/install.md", flag)
		}
	}
	if asked := regexp.MustCompile(`\}\}(/\w+)`).FindStringSubmatch(fmt.Sprint(tasks[len(tasks)-1])); asked == nil || answers(t, asked[1]) != http.StatusOK {
		t.Errorf("it waits for %q", asked)
	}
	var ran []string
	for _, p := range plays {
		if p.Vars.Program == "" {
			continue
		}
		ran = append(ran, p.Vars.Program+" on "+p.Hosts)
		values["health_port"] = fmt.Sprint(p.Vars.Port)
		var mounted []string
		for _, m := range regexp.MustCompile(`-v ([^: ]+):([^: ]+)`).FindAllStringSubmatch(p.Vars.Volumes, -1) {
			mounted = append(mounted, m[2])
			if !strings.Contains(guide, "-v "+m[1]+":"+m[2]) {
				t.Errorf("%s: docs/install.md does not mount %s", p.Name, m[1])
			}
		}
		takes(t, p.Name, p.Vars.Program, lines(template(t, p.Vars.Settings, values)), mounted)
		if image := template(t, p.Vars.Image, values); image != "REGISTRY/earlybind-"+p.Vars.Program+":VERSION" {
			t.Errorf("%s: %s", p.Name, image)
		}
	}
	if got := strings.Join(ran, ", "); got != "consumer on control[0:1], publisher on compute" {
		t.Errorf("it runs %s", got)
	}
}

// needsOpenStackClient holds the plays to what they need of the machine that they are run on: where the command openstack
// does not run, they end before they use it, with what to install.
func needsOpenStackClient(t *testing.T, plays []play) {
	t.Helper()
	const client = "python-openstackclient"
	found, ends, uses := false, false, 0
	for _, p := range plays {
		for _, task := range p.Tasks {
			command, _ := task["ansible.builtin.command"].(string)
			switch {
			case command == "openstack --version" && task["register"] == "client" && task["failed_when"] == false:
				found = true
			case strings.Contains(command, "openstack"):
				if uses++; !ends || p.Hosts != "localhost" {
					t.Errorf("%s uses %q, and has not looked for it", p.Name, command)
				}
			}
			if is := fmt.Sprint(task["ansible.builtin.assert"]); found && strings.Contains(is, "client.rc") && strings.Contains(is, client) {
				ends = true
			}
		}
	}
	if uses == 0 {
		t.Error("no play uses the command openstack: nothing is to be told of it")
	}
	for _, file := range []string{examples + "kolla/earlybind.yml", examples + "kolla/vars.yml", examples + "README.md", "../../docs/install.md"} {
		if !strings.Contains(read(t, file), client) {
			t.Errorf("%s does not tell of %s", file, client)
		}
	}
}

// The settings that docs/install.md has written into files are taken too.
func TestSettingsOfTheInstallationGuide(t *testing.T) {
	found := regexp.MustCompile(`(?ms)cat >/etc/earlybind/(\w+)\.container\.env <<'END'\n(.*?)^ *END`).FindAllStringSubmatch(read(t, "../../docs/install.md"), -1)
	if len(found) != 2 {
		t.Fatalf("%q", found)
	}
	for _, m := range found {
		takes(t, m[1], m[1], lines(m[2]), []string{"/etc/earlybind/" + m[1]})
	}
}
