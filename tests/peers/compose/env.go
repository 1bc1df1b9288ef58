package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/sirupsen/logrus"
)

const envFiles = 10_000

// The kinds of statement that must be at least this share of all, so that none is tested by chance.
const leastShare = 0.02

const tornQuotes = "something after a closing quote"

// What Compose takes and we refuse, by what our problem says: the list of docs/compose.md.
var envRefusals = []refusal{
	{"a name alone", "a name alone takes its value from nowhere"},
	{"an unset reference", "which no line above sets"},
	{"an unset reference", "which only a later line sets"},
	{"an unset reference", "refers to a name which no"},
	{"no name", "there is no name"},
	{"a blank in a name", "a name has no blanks"},
	{"a name beyond ASCII", "a name has letters, digits"},
	{"a `#` that begins no comment", "begins no comment here"},
	{tornQuotes, "something follows"},
	{"CHANGE_ME", "CHANGE_ME"},
	{"a NUL character", "NUL"},
	{"references too deep in each other", "deep"},
}

// compareEnv reads generated environment files with both, and returns what is different.
func compareEnv(ours *reader) ([]string, error) {
	generator := newEnvGenerator()
	tally := newTally(envRefusals)
	for i := range envFiles {
		text := generator.file()
		theirs, unset, err := composeEnv(text)
		answer, failed := ours.ask(question{Env: &text})
		if failed != nil {
			return nil, fmt.Errorf("file %d: %w", i, failed)
		}
		taken := ""
		if err == nil {
			taken = render(theirs)
		}
		tally.judge(text, err, taken, unset, answer)
	}
	tally.print()
	return append(tally.different, generator.tooRare()...), nil
}

// composeEnv is Compose's own reading, with an empty environment around it, and whether it replaced a
// reference to nothing by an empty text.
func composeEnv(text string) (map[string]string, bool, error) {
	unset := &warnings{}
	logrus.StandardLogger().ReplaceHooks(logrus.LevelHooks{})
	logrus.AddHook(unset)
	values := map[string]string{}
	reader := strings.NewReader(text)
	err := dotenv.ParseWithFormat(reader, "", values, func(string) (string, bool) { return "", false }, "")
	return values, unset.any, err
}

type warnings struct{ any bool }

func (w *warnings) Levels() []logrus.Level { return []logrus.Level{logrus.WarnLevel} }

func (w *warnings) Fire(entry *logrus.Entry) error {
	w.any = w.any || strings.Contains(entry.Message, "is not set")
	return nil
}

func render(values map[string]string) string {
	var lines strings.Builder
	for _, name := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(&lines, "%q=%q\n", name, values[name])
	}
	return lines.String()
}
