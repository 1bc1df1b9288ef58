package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// refusal is one kind of what Compose takes and we refuse.
type refusal struct {
	kind string
	// What our problem says.
	says string
}

// tally counts what became of the files, and keeps what was taken differently.
type tally struct {
	refusals                        []refusal
	same, both, ours, theirs, meant int
	kinds                           map[string]int
	different                       []string
}

func newTally(refusals []refusal) *tally {
	return &tally{refusals: refusals, kinds: map[string]int{}}
}

// judge compares what became of one file. `unset`: Compose replaced a reference to nothing by an empty
// text, which is what we refuse.
func (t *tally) judge(text string, err error, taken string, unset bool, answer answer) {
	refused := answer.Problems != nil
	switch {
	case err != nil && refused:
		t.both++
	case err != nil:
		t.theirs++
		t.differ(text, "refused by Compose (%v), taken by us: %v", err, answer.Values)
	case refused:
		t.ours++
		t.count(text, unset, answer.Problems)
	case render(answer.Values) != taken:
		t.differ(text, "Compose:\n%sours:\n%s", taken, render(answer.Values))
	case unset:
		t.differ(text, "Compose found a reference to nothing, we did not:\n%s", taken)
	default:
		t.same++
	}
}

// count finds the kind of each problem; a file counts once for a kind.
func (t *tally) count(text string, unset bool, problems []string) {
	kinds := map[string]bool{}
	for _, problem := range problems {
		kind := t.kind(problem)
		// Behind quotes that are wrong, our reader starts anew on a line that Compose took for a part
		// of the value: what it finds there is of no interest.
		if kind == "" && kinds[tornQuotes] {
			continue
		}
		if kind == "" {
			t.differ(text, "taken by Compose, and refused by us for no listed reason: %s", problem)
			return
		}
		kinds[kind] = true
	}
	if kinds["an unset reference"] && !unset && !kinds[tornQuotes] {
		t.differ(text, "refused for a reference that Compose found: %v", problems)
		return
	}
	for kind := range kinds {
		t.kinds[kind]++
	}
}

func (t *tally) kind(problem string) string {
	for _, refusal := range t.refusals {
		if strings.Contains(problem, refusal.says) {
			return refusal.kind
		}
	}
	return ""
}

func (t *tally) differ(text, format string, arguments ...any) {
	what := fmt.Sprintf(format, arguments...)
	t.different = append(t.different, fmt.Sprintf("--- %q\n%s", text, what))
}

func (t *tally) print() {
	fmt.Printf("taken alike %d, refused by both %d, refused by us alone %d, different %d\n",
		t.same, t.both, t.ours, len(t.different))
	if t.meant > 0 {
		fmt.Printf("  taken by us alone: the app without an image, which its release brings: %d\n", t.meant)
	}
	for _, kind := range slices.Sorted(maps.Keys(t.kinds)) {
		fmt.Printf("  refused by us: %s: %d\n", kind, t.kinds[kind])
	}
}
