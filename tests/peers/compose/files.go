package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/sirupsen/logrus"
)

const composeFiles = 500

// The service that runs in the slots.
const app = "app"

// fileQuestion is a Compose file, and what it is read with.
type fileQuestion struct {
	Text        string            `json:"text"`
	Environment map[string]string `json:"environment"`
	// Where it stands, and the home folder of who reads it.
	Folder string `json:"folder"`
	Home   string `json:"home"`
}

// The app's image comes with its release.
const meant = `"app" has neither an image`

// What Compose takes and we refuse, by what our problem says: the lists of docs/compose.md.
var fileRefusals = []refusal{
	{"no `name`, or one that Compose changes", "the key `name` is missing"},
	{"no `name`, or one that Compose changes", "expected lower-case letters, digits"},
	{"a key that is not taken", "is not one this agent knows"},
	{"tags for several files", "tags such as `!reset`"},
	{"several documents", "a second document begins here"},
	{"another condition of depends_on", "expected `service_started` or `service_healthy`"},
	{"another pull_policy", "the agent pulls"},
	{"an unset reference", "; set it in the environment file, or give a default"},
	{"an unset reference", "has no value; give it one, or set it in the environment file"},
	{"a value that Compose writes differently", "YAML takes this for a number, a boolean or a date, and Compose"},
	{"a character for a shell in a command", "outside of quotes is for a shell"},
	{"a volume without a name", "a volume without a name is lost"},
	{"a port without one of the host", "expected `HOST:CONTAINER`"},
	{"a port without one of the host", "the key `published` is missing"},
	{"a port without one of the host", "must be as many ports"},
	{"a mount option", "expected `VOLUME:/path`"},
	{"a mount option", "expected `true`: Docker makes a path"},
	{"an image reference", "image reference"},
	{"an image reference", "expected an image such as"},
	{"no services, or no app", "expected a Compose file"},
	{"no services, or no app", "the key `services` is missing"},
	{"no services, or no app", "is not there; deployment.yml names it"},
	{"a port of a slot, or of two services", "is the port of a slot"},
	{"a port of a slot, or of two services", "is published by the service"},
	{"a container's name that two want", "is called `"},
	{"what Docker would refuse when a container is made", "expected `no`, `always`"},
	{"what Docker would refuse when a container is made", "expected a platform"},
	{"what Docker would refuse when a container is made", "expected a propagation"},
	{"what Docker would refuse when a container is made", "a list begins with `CMD`"},
	{"what Docker would refuse when a container is made", "mounted at this path already"},
	{"what Docker would refuse when a container is made", "expected an absolute path"},
	{"what Docker would refuse when a container is made", "expected at least two letters"},
	{"what Docker would refuse when a container is made", "expected `host` or `ingress`"},
	{"what Docker would refuse when a container is made", "expected the container's port"},
	{"what Docker would refuse when a container is made", "expected `tcp`, `udp` or `sctp`"},
	{"the home folder of another user", "the home folder of another user"},
	{"`external` with more than a name", "what is `external` is made by somebody else"},
	{"the app is waited for", "starts after all others, so nothing can wait for it"},
	{"a number, size or span in an odd form", "expected a whole number"},
	{"a number, size or span in an odd form", "expected a size"},
	{"a number, size or span in an odd form", "expected a span of time"},
	{"a number, size or span in an odd form", "expected a number of CPUs"},
	{"an empty item, or an option without a value", "an item is empty"},
	{"an empty item, or an option without a value", "a value is missing here"},
	{"a variable or label without a name, or whose name is filled in", "is not valid; expected `NAME=value`"},
	{"other types of mounts", "expected `volume`, `bind` or `tmpfs`"},
	{"a volume without a name", "the key `source` is missing"},
	{"a port without one of the host", "expected the port on the host"},
	{"a service that is off is waited for", "is off, because nobody asked for its profile"},
	{"a container's name that two want", "as a slot of the app is"},
	{"CHANGE_ME", "CHANGE_ME"},
	{"a NUL character", "NUL"},
	{"the app publishes ports", "the app must not publish ports"},
	{"the app has a container_name", "the agent names the app's two containers"},
	{"the app is started again at boot", "Docker would start a retired slot again"},
}

// compareFiles reads generated Compose files with both, and returns what is different.
func compareFiles(ours *reader) ([]string, error) {
	folder, err := os.MkdirTemp("", "togather-peers-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	// `~` is this folder for both.
	if err := os.Setenv("HOME", folder); err != nil {
		return nil, err
	}
	generator := newFileGenerator()
	tally := newTally(fileRefusals)
	many := composeFiles
	if wanted := os.Getenv("FILES"); wanted != "" {
		many = atoi(wanted)
	}
	for i := range many {
		file := generator.file()
		for name, text := range file.beside {
			if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
				return nil, err
			}
		}
		question := fileQuestion{file.text, file.environment, folder, folder}
		project, unset, err := composeFile(question)
		answer, failed := ours.ask(struct {
			File fileQuestion `json:"file"`
		}{question})
		if failed != nil {
			return nil, fmt.Errorf("file %d: %w\n%s", i, failed, file.text)
		}
		tally.judgeFile(file, project, err, unset, answer)
	}
	tally.print()
	generator.printShares()
	return append(tally.different, generator.tooRare()...), nil
}

// composeFile is Compose's own reading, and whether it replaced a reference to nothing by an empty text.
func composeFile(question fileQuestion) (project *types.Project, unset bool, err error) {
	warned := &warnings{}
	logrus.StandardLogger().ReplaceHooks(logrus.LevelHooks{})
	logrus.AddHook(warned)
	defer func() {
		if panicked := recover(); panicked != nil {
			err = fmt.Errorf("Compose panicked: %v", panicked)
		}
	}()
	details := types.ConfigDetails{
		WorkingDir: question.Folder,
		ConfigFiles: []types.ConfigFile{
			{Filename: filepath.Join(question.Folder, "docker-compose.yml"), Content: []byte(question.Text)},
		},
		Environment: question.Environment,
	}
	project, err = loader.LoadWithContext(context.Background(), details, func(options *loader.Options) {
		// As Compose itself does: the folder's name where the file has none.
		options.SetProjectName("folder", false)
		if asked := question.Environment["COMPOSE_PROFILES"]; asked != "" {
			options.Profiles = strings.Split(asked, ",")
		}
	})
	return project, warned.any, err
}

// judgeFile compares what became of one Compose file.
func (t *tally) judgeFile(file composeText, project *types.Project, err error, unset bool, answer answer) {
	text := file.String()
	refused := answer.Problems != nil
	switch {
	case err != nil && refused:
		t.both++
	case err != nil && strings.Contains(err.Error(), meant):
		t.meant++
	case err != nil:
		t.theirs++
		t.differ(text, "refused by Compose (%v), taken by us", err)
	case refused:
		t.ours++
		t.countFile(text, answer.Problems)
	default:
		var different []string
		model, failed := fromOurs(answer.Model)
		if failed == nil {
			different = differences(fromCompose(project), model)
		} else {
			different = []string{failed.Error()}
		}
		switch {
		case len(different) > 0:
			t.differ(text, "%s", strings.Join(different, "\n"))
		// In a service that is off, which we do not read, it does not matter.
		case unset && !strings.Contains(file.text, "profiles:"):
			t.differ(text, "Compose found a reference to nothing, we did not")
		default:
			t.same++
		}
	}
}

// countFile finds the kind of each problem; a file counts once for a kind.
func (t *tally) countFile(text string, problems []string) {
	kinds := map[string]bool{}
	// There, what is written may be replaced by what stands elsewhere.
	replaced := strings.Contains(text, "extends:") || strings.Contains(text, "!reset")
	for _, problem := range problems {
		kind := t.kind(problem)
		if kind == "" && replaced {
			continue
		}
		if kind == "" {
			t.differ(text, "taken by Compose, and refused by us for no listed reason: %s", problem)
			return
		}
		kinds[kind] = true
	}
	for kind := range kinds {
		t.kinds[kind]++
	}
}
