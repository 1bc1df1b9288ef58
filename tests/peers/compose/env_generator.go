package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// envGenerator writes environment files as people write them, and worse. Of the 10,000 files of the
// standard seed, dotenvy 0.15 takes 941 as Compose does, and refuses 1,893 that Compose refuses as well.
type envGenerator struct {
	random *rand.Rand
	// How many statements of each kind there were.
	written map[string]int
	total   int
}

func newEnvGenerator() *envGenerator {
	return &envGenerator{random: rand.New(rand.NewPCG(seed, 1)), written: map[string]int{}}
}

// kinds of statement. Each returns whole lines without the last line break.
var envKinds = map[string]func(*envGenerator) string{
	"plain":         func(g *envGenerator) string { return g.key() + "=" + g.pick(realLife) },
	"plain again":   func(g *envGenerator) string { return g.key() + "=" + g.pick(realLife) },
	"plain, random": func(g *envGenerator) string { return g.key() + "=" + g.text(plainAlphabet, 24) },
	"empty":         func(g *envGenerator) string { return g.key() + "=" },
	"single quotes": func(g *envGenerator) string { return g.key() + "='" + g.text(plainAlphabet, 16) + "'" },
	"double quotes": func(g *envGenerator) string { return g.key() + `="` + g.text(plainAlphabet, 16) + `"` },
	"escapes":       func(g *envGenerator) string { return g.key() + `="` + g.join(escapes, 6) + `"` },
	"many lines":    (*envGenerator).manyLines,
	"json":          func(g *envGenerator) string { return g.key() + "=" + g.pick(jsons) },
	"inner quotes":  func(g *envGenerator) string { return g.key() + "=" + g.pick(innerQuotes) },
	"apostrophe": func(g *envGenerator) string {
		return g.key() + "=" + g.word() + "'" + g.pick([]string{"s", "t stop", ""})
	},
	"backslash":      func(g *envGenerator) string { return g.key() + "=" + g.pick(backslashes) },
	"comment":        func(g *envGenerator) string { return g.pick([]string{"# ", "#", "  # "}) + g.pick(comments) },
	"comment behind": (*envGenerator).commentBehind,
	"hash first":     func(g *envGenerator) string { return g.key() + g.pick([]string{"=#", "= #", "='#", "=\"#"}) + g.word() },
	"hash inside":    func(g *envGenerator) string { return g.key() + "=" + g.word() + "#" + g.word() },
	"reference":      func(g *envGenerator) string { return g.key() + "=" + g.around(g.reference(2)) },
	"quoted reference": func(g *envGenerator) string {
		return g.key() + `="` + g.around(g.reference(2)) + `"`
	},
	"dollars": func(g *envGenerator) string { return g.key() + "=" + g.pick(dollars) },
	"export": func(g *envGenerator) string {
		return g.pick([]string{"export ", "export\t", "  export  "}) + g.assignment()
	},
	"dots, dashes": func(g *envGenerator) string { return g.pick(oddKeys) + "=" + g.pick(realLife) },
	"colon":        func(g *envGenerator) string { return g.key() + g.pick([]string{": ", ":", " : "}) + g.pick(realLife) },
	"bare": func(g *envGenerator) string {
		return g.pick([]string{"", "export ", " "}) + g.key() + g.pick([]string{"", " "})
	},
	"blanks": func(g *envGenerator) string { return g.key() + g.pick(blankSeparators) + g.pick(realLife) },
	"blank value": func(g *envGenerator) string {
		return g.blank() + g.key() + "=" + g.blank() + g.word() + g.blank() + g.word() + g.blank()
	},
	"again":  func(g *envGenerator) string { return "A=" + g.word() + "\nB=$A\nA=" + g.word() + "\nC=${A}" },
	"behind": func(g *envGenerator) string { return g.key() + `="` + g.word() + `"` + g.pick(behind) },
}

// file writes a whole file.
func (g *envGenerator) file() string {
	names := slices.Sorted(maps.Keys(envKinds))
	var lines []string
	for range 1 + g.random.IntN(9) {
		// A third of all lines is harmless, so that many files are taken whole.
		kind := g.pick(names)
		if g.one(3) {
			kind = "plain"
		}
		g.written[kind]++
		g.total++
		lines = append(lines, envKinds[kind](g))
		if g.one(6) {
			lines = append(lines, g.blank())
		}
	}
	text := strings.Join(lines, "\n")
	if !g.one(5) {
		text += "\n"
	}
	if g.one(15) {
		text = g.damaged(text)
	}
	if g.one(6) {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	if g.one(12) {
		text = "\ufeff" + text
	}
	return text
}

// damaged text has characters too many or too few.
func (g *envGenerator) damaged(text string) string {
	runes := []rune(text)
	for range 1 + g.random.IntN(3) {
		at := g.random.IntN(len(runes) + 1)
		if g.one(2) && at < len(runes) {
			runes = slices.Delete(runes, at, at+1)
		} else {
			nasty := []rune(nastyAlphabet)
			runes = slices.Insert(runes, at, nasty[g.random.IntN(len(nasty))])
		}
	}
	return string(runes)
}

// tooRare names the kinds of statement that were hardly written.
func (g *envGenerator) tooRare() []string {
	var rare []string
	for kind := range envKinds {
		if share := float64(g.written[kind]) / float64(g.total); share < leastShare {
			rare = append(rare, fmt.Sprintf("too rare to be tested: %s, %.1f %%", kind, share*100))
		}
	}
	return rare
}

func (g *envGenerator) one(of int) bool { return g.random.IntN(of) == 0 }

func (g *envGenerator) pick(from []string) string { return from[g.random.IntN(len(from))] }

func (g *envGenerator) join(from []string, most int) string {
	var text strings.Builder
	for range g.random.IntN(most + 1) {
		text.WriteString(g.pick(from))
	}
	return text.String()
}

func (g *envGenerator) text(alphabet string, most int) string {
	return g.join(strings.Split(alphabet, ""), most)
}

func (g *envGenerator) key() string   { return g.pick(keys) }
func (g *envGenerator) word() string  { return g.pick(words) }
func (g *envGenerator) blank() string { return g.pick([]string{"", "", " ", "  ", "\t", " \t "}) }

func (g *envGenerator) around(text string) string {
	return g.pick([]string{"", "", "/srv/", "x "}) + text + g.pick([]string{"", "", "/y", " z", "}", " # c"})
}

func (g *envGenerator) assignment() string {
	return g.key() + g.pick([]string{"=", "=", " = ", ": "}) + g.pick(realLife)
}

func (g *envGenerator) manyLines() string {
	quote := g.pick([]string{"'", `"`})
	lines := []string{"-----BEGIN KEY-----", "MIIEvQ+/IBA", "AxY==", "", "a=b", "# no comment", "-----END KEY-----"}
	return g.key() + "=" + quote + strings.Join(lines[:1+g.random.IntN(len(lines))], "\n") + quote
}

func (g *envGenerator) commentBehind() string {
	value := g.pick([]string{g.word(), "'" + g.word() + "'", `"` + g.word() + `"`, g.word()})
	return g.key() + "=" + value + g.pick([]string{" # ", "  # ", " #", "\t# ", "# "}) + g.pick(comments)
}

// reference is one as Compose knows them, perhaps with another in it.
func (g *envGenerator) reference(depth int) string {
	name := g.pick([]string{"A", "B", "DB_HOST", "HOME", "PATH", g.key()})
	inner := g.word()
	if depth > 0 && g.one(3) {
		inner = g.reference(depth - 1)
	}
	return fmt.Sprintf(g.pick([]string{
		"$%[1]s", "${%[1]s}", "${%[1]s:-%[2]s}", "${%[1]s:-%[2]s}", "${%[1]s-%[2]s}", "${%[1]s-%[2]s}", "${%[1]s:-}",
		"${%[1]s:?%[2]s}", "${%[1]s?%[2]s}", "${%[1]s:+%[2]s}", "${%[1]s+%[2]s}",
		"${%[1]s:-{\"a\":%[2]s}}", "${%[1]s:-%[2]s", "${%[1]s!%[2]s}", "${%[1]s:-{}", "${%[1]s:-a}${%[1]s:-b}} c",
	}), name, inner)
}
