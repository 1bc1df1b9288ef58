package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// composeText is a generated Compose file, and what it is read with.
type composeText struct {
	text        string
	environment map[string]string
	// Files in its folder.
	beside map[string]string
}

func (f composeText) String() string {
	return fmt.Sprintf("%s# read with %v", f.text, f.environment)
}

// fileGenerator writes Compose files as people write them, and worse. It reuses what the generator of
// environment files has.
type fileGenerator struct {
	*envGenerator
	// Whether only what should be taken is written in this file; otherwise, how much else may be.
	good bool
	odd  int
	// Whether all services run.
	on bool
	// The services of this file.
	services []string
}

func newFileGenerator() *fileGenerator {
	random := rand.New(rand.NewPCG(seed, 2))
	return &fileGenerator{envGenerator: &envGenerator{random: random, written: map[string]int{}}}
}

// part is something that a service can say. A service says nothing twice.
type part struct {
	keys  string
	write func(*fileGenerator) string
}

// file writes a whole file.
func (g *fileGenerator) file() composeText {
	g.good = g.one(3)
	g.odd = 1 + g.random.IntN(2)
	g.on = g.one(3)
	all := []string{app, "db", "cache", "web", "mail-1"}
	g.services = all[:2+g.random.IntN(4)]
	var lines []string
	lines = append(lines, g.top()...)
	lines = append(lines, "services:")
	for _, name := range g.services {
		lines = append(lines, indent(name+":"+g.service(name), 2))
	}
	lines = append(lines, g.resources("networks", networkNames)...)
	lines = append(lines, g.resources("volumes", volumeNames)...)
	text := strings.Join(lines, "\n") + "\n"
	if !strings.Contains(text, "profiles:") && !g.good && g.one(3) {
		g.wrote("damaged")
		text = g.damaged(text)
	}
	if g.one(10) {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	return composeText{text, g.environment(), map[string]string{
		"extra.env": "FROM_FILE=1\nTAG=of-file\nURL=${DB_HOST:-none}/$TAG\nA='x y'\n",
		"more.env":  "A=${FROM_FILE:-unset} ${TAG}\nLEVEL: debug # c\n",
	}}
}

func (g *fileGenerator) wrote(kind string) {
	g.written[kind]++
	// The shares are of what is drawn for a service.
	if _, drawn := parts[kind]; drawn && kind != otherKey {
		g.total++
	}
}

func (g *fileGenerator) environment() map[string]string {
	values := map[string]string{
		"TAG": "17", "EMPTY": "", "PORT": g.pick([]string{"5433", "18080"}), "DB_HOST": "db", "SWITCH": "true",
		"DB_PASSWORD": g.pick(passwords), "SIZE": "64m", "SPAN": "30s", "COUNT": "3",
	}
	if g.one(3) {
		values["COMPOSE_PROFILES"] = g.pick([]string{"debug", "debug,tools", "*", "other", ""})
	}
	return values
}

func (g *fileGenerator) top() []string {
	lines := []string{"name: " + g.pick([]string{"node", "togather", `"node"`, "a_b-1", "${TAG}x"})}
	switch {
	case g.mayBeOdd(20):
		lines[0] = g.pick([]string{"", "name: A B", "name: ''", "name: ${NOWHERE}", "name: [a]", "name:", "name: a\nversion: 3.8", "name: a\nversion: 2"})
		g.wrote("top: name")
	case g.one(2):
		lines = append(lines, g.pick([]string{"version: '3.8'", `version: "2"`, "x-a: {b: [1]}", "x-c: text"}))
		g.wrote("top: version, x-")
	}
	return append(lines, commonParts, "")
}

// service is the mapping of a service's keys.
func (g *fileGenerator) service(name string) string {
	isOff := name != app && !g.on && g.one(3)
	lines := []string{"image: " + g.yaml(g.pick(images))}
	if !isOff && g.mayBeOdd(20) {
		lines = []string{"image: " + g.yaml(g.pick(oddImages))}
		g.wrote("image")
	}
	said := map[string]bool{"image": true}
	// We do not read what is off, so that nothing of it can be refused.
	if isOff {
		g.wrote("profiles")
		lines = append(lines, "profiles: "+g.choose(profileForms, oddProfiles))
		said["profiles"] = true
		defer func(good bool) { g.good = good }(g.good)
		g.good = true
	}
	for range 3 + g.random.IntN(6) {
		kind := g.pick(drawn)
		if g.mayBeOdd(8) {
			kind = otherKey
		}
		part := parts[kind]
		if name == app && slices.Contains(notForTheApp, part.keys) && !g.mayBeOdd(5) {
			continue
		}
		if said[part.keys] && part.keys != "" {
			continue
		}
		said[part.keys] = true
		g.wrote(kind)
		lines = append(lines, part.write(g))
		if g.one(12) {
			// Under a block of text it is a part of that.
			lines = append(lines, g.choose([]string{"# a comment", ""}, []string{"  # don't"}))
		}
	}
	return "\n" + indent(strings.Join(lines, "\n"), 2)
}

func (g *fileGenerator) resources(section string, names []string) []string {
	lines := []string{"", section + ":"}
	for _, name := range names {
		lines = append(lines, "  "+name+":"+g.choose(
			[]string{"", "", " {}", " {name: own-" + name + "}", " {external: true}", " {driver: local}",
				" {driver: x, driver_opts: {a: b, c: '1', e: 5}}", " {name: '${TAG}-x'}", " {x-a: 1}"},
			[]string{" {external: {name: theirs}}", " {external: true, driver: local}", " []", " text", " {labels: {a: b}}",
				" {driver_opts: {a: 010}}", " {driver_opts: {a: true}}", " {ipam: {driver: default}}", " {attachable: true}", " {name: 5}",
				" {internal: yes}", " {external: 'true'}", " {driver_opts: }"},
		))
	}
	g.wrote("top: " + section)
	if section == "networks" && g.one(2) {
		lines = append(lines, "  inner: "+g.pick([]string{"{internal: true}", "{internal: false, driver: bridge}", "{internal: \"${SWITCH}\"}"}))
		g.wrote("top: internal")
	}
	return lines
}

// choose picks of what should be taken, and, a few times in a bad file, of what is odd.
func (g *fileGenerator) choose(good, odd []string) string {
	if g.mayBeOdd(12) {
		return g.pick(odd)
	}
	return g.pick(good)
}

// mayBeOdd tells, once in so many times, whether something odd is to be written here.
func (g *fileGenerator) mayBeOdd(of int) bool {
	if g.good || g.odd == 0 || !g.one(of) {
		return false
	}
	g.odd--
	return true
}

// yaml writes a text in one of YAML's notations. In a bad file it may stand plainly where that makes
// another thing of it.
func (g *fileGenerator) yaml(text string) string {
	quoted := "'" + strings.ReplaceAll(text, "'", "''") + "'"
	isPlain := text != "" && !strings.ContainsAny(text, "#:{}[],&*!|>'\"%@`\n~") && strings.TrimSpace(text) == text &&
		// Numbers, booleans and dates.
		!strings.Contains("0123456789+-.t", text[:1])
	switch g.random.IntN(6) {
	case 0:
		return quoted
	case 1:
		inner, err := json.Marshal(text)
		if err != nil {
			fail(err)
		}
		return string(inner)
	case 2:
		if g.good && !isPlain {
			return quoted
		}
		return text
	default:
		if !isPlain {
			return quoted
		}
		return text
	}
}

// block writes a text in a notation that may span lines, under a key.
func (g *fileGenerator) block(text string) string {
	if !g.one(3) || text == "" {
		return g.yaml(text)
	}
	return g.pick([]string{"|-", ">-", "|", ">"}) + "\n" + indent(text, 2)
}

// list writes some of these as a list, in lines or between brackets.
func (g *fileGenerator) list(from []string, most int) string {
	var items []string
	for range 1 + g.random.IntN(most) {
		item := g.pick(from)
		if !slices.Contains(items, item) || g.mayBeOdd(6) {
			items = append(items, item)
		}
	}
	if g.one(3) {
		quoted := make([]string, len(items))
		for i, item := range items {
			quoted[i] = "'" + strings.ReplaceAll(item, "'", "''") + "'"
		}
		return " [" + strings.Join(quoted, ", ") + "]"
	}
	var lines strings.Builder
	for _, item := range items {
		lines.WriteString("\n  - " + g.yaml(item))
	}
	return lines.String()
}

// mapping writes some of these pairs as a mapping, each key once.
func (g *fileGenerator) mapping(from [][2]string, most int) string {
	var lines strings.Builder
	said := map[string]bool{}
	for range 1 + g.random.IntN(most) {
		pair := from[g.random.IntN(len(from))]
		if said[pair[0]] {
			continue
		}
		said[pair[0]] = true
		lines.WriteString("\n  " + pair[0] + ": " + pair[1])
	}
	return lines.String()
}

func (g *fileGenerator) shares() map[string]float64 {
	shares := map[string]float64{}
	for kind, times := range g.written {
		shares[kind] = float64(times) / float64(g.total) * 100
	}
	return shares
}

func (g *fileGenerator) printShares() {
	shares := g.shares()
	var told []string
	for _, kind := range slices.Sorted(maps.Keys(shares)) {
		told = append(told, fmt.Sprintf("%s %.1f %%", kind, shares[kind]))
	}
	fmt.Printf("  written, by kind: %s\n", strings.Join(told, ", "))
}

// tooRare names the kinds that were hardly written.
func (g *fileGenerator) tooRare() []string {
	var rare []string
	shares := g.shares()
	for _, kind := range append(partNames, "profiles") {
		if shares[kind] < leastShare*100 {
			rare = append(rare, fmt.Sprintf("too rare to be tested: %s, %.1f %%", kind, shares[kind]))
		}
	}
	return rare
}

func indent(text string, by int) string {
	blanks := strings.Repeat(" ", by)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		// The first line of a service stands where it is put.
		if line != "" {
			lines[i] = blanks + line
		}
	}
	return strings.Join(lines, "\n")
}
