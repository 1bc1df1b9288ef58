package main

import (
	"maps"
	"slices"
)

// What a service can say, by kind. Kinds with the same keys are not in one service.
var parts map[string]part

var partNames []string

// From these a part is drawn; twice here are those that not every service or file can have.
var drawn []string

const otherKey = "keys not taken"

var notForTheApp = []string{"ports", "container_name", "restart"}

func init() {
	parts = map[string]part{
		"command, text": {"command", func(g *fileGenerator) string { return "command: " + g.block(g.choose(commands, oddCommands)) }},
		"command, list": {"command", func(g *fileGenerator) string { return "command:" + g.list(commandWords, 4) }},
		"entrypoint": {"entrypoint", func(g *fileGenerator) string {
			if g.one(2) {
				return "entrypoint:" + g.list(commandWords, 3)
			}
			return "entrypoint: " + g.block(g.choose(commands, oddCommands))
		}},
		"environment, mapping": {"environment", func(g *fileGenerator) string { return "environment:" + g.mapping(g.variables(), 6) }},
		"environment, list":    {"environment", func(g *fileGenerator) string { return "environment:" + g.list(g.assignments(), 6) }},
		"environment, address": {"environment", func(g *fileGenerator) string {
			return "environment:\n  DATABASE_URL: " + g.yaml(g.pick(addresses)) + "\n  OTHER: " + g.yaml(g.pick(addresses))
		}},
		"env_file":       {"env_file", func(g *fileGenerator) string { return "env_file: " + g.choose(envFileForms, oddEnvFiles) }},
		"volumes, short": {"volumes", func(g *fileGenerator) string { return "volumes:" + g.list(g.of(mountForms, oddMounts), 4) }},
		"volumes, long": {"volumes", func(g *fileGenerator) string {
			return "volumes:\n  - " + g.choose(longMounts, oddLongMounts) + "\n  - " + g.choose(moreLongMounts, oddLongMounts)
		}},
		"tmpfs":          {"tmpfs", func(g *fileGenerator) string { return "tmpfs: " + g.choose(tmpfsForms, oddTmpfs) }},
		"ports, short":   {"ports", func(g *fileGenerator) string { return "ports:" + g.list(g.of(portForms, oddPorts), 2) }},
		"ports, long":    {"ports", func(g *fileGenerator) string { return "ports:\n  - " + g.choose(longPorts, oddLongPorts) }},
		"networks, list": {"networks", func(g *fileGenerator) string { return "networks:" + g.list(g.of(networkNames, oddNetworks), 3) }},
		"networks, mapping": {"networks", func(g *fileGenerator) string {
			return "networks:" + g.mapping(g.ofPairs(networkForms, oddNetworkForms), 3)
		}},
		"depends_on": {"depends_on", func(g *fileGenerator) string { return "depends_on:" + g.choose(g.dependencies(), oddDependencies) }},
		"healthcheck, text": {"healthcheck", func(g *fileGenerator) string {
			return "healthcheck:\n  test: " + g.yaml(g.pick(healthTexts)) + g.times()
		}},
		"healthcheck, list": {"healthcheck", func(g *fileGenerator) string {
			return "healthcheck:\n  test: " + g.choose(healthLists, oddHealthLists) + g.times()
		}},
		"healthcheck, forms": {"healthcheck", func(g *fileGenerator) string { return "healthcheck: " + g.choose(healthForms, oddHealthForms) }},
		"restart":            {"restart", func(g *fileGenerator) string { return "restart: " + g.choose(restarts, oddRestarts) }},
		"limits": {"mem_limit", func(g *fileGenerator) string {
			return "mem_limit: " + g.choose(sizes, oddSizes) + "\nshm_size: " + g.choose(sizes, oddSizes) +
				"\ncpus: " + g.choose(cpus, oddCpus) + "\npids_limit: " + g.choose(limits, oddLimits)
		}},
		"ulimits": {"ulimits", func(g *fileGenerator) string { return "ulimits: " + g.choose(ulimitForms, oddUlimits) }},
		"stop": {"stop_signal", func(g *fileGenerator) string {
			return "stop_grace_period: " + g.choose(spans, oddSpans) + "\nstop_signal: " + g.choose(signals, oddTexts)
		}},
		"who and where": {"user", func(g *fileGenerator) string {
			return "user: " + g.choose(users, oddTexts) + "\nworking_dir: " + g.choose(folders, oddTexts) + "\nhostname: " + g.choose(hostnames, oddTexts)
		}},
		"logging": {"logging", func(g *fileGenerator) string { return "logging: " + g.choose(loggings, oddLoggings) }},
		"labels":  {"labels", func(g *fileGenerator) string { return "labels:" + g.choose(labelForms, oddLabels) }},
		"capabilities": {"cap_add", func(g *fileGenerator) string {
			return "cap_add:" + g.list(capabilities, 3) + "\ncap_drop: " + g.choose(drops, oddDrops) + "\nsecurity_opt:" + g.list(securities, 2)
		}},
		"extra_hosts": {"extra_hosts", func(g *fileGenerator) string { return "extra_hosts:" + g.choose(hostForms, oddHosts) }},
		"platform, pulling": {"platform", func(g *fileGenerator) string {
			return "platform: " + g.choose(platforms, oddPlatforms) + "\npull_policy: " + g.choose(pulls, oddPulls)
		}},
		"container_name": {"container_name", func(g *fileGenerator) string {
			return "container_name: " + g.choose(g.containerNames(), oddContainerNames)
		}},
		"switches, expose, x-": {"expose", func(g *fileGenerator) string {
			return "init: " + g.choose(switches, oddSwitches) + "\nread_only: " + g.choose(switches, oddSwitches) +
				"\nexpose: " + g.pick(exposes) + "\nx-any: " + g.pick([]string{"{a: 1}", "[b]", "c"})
		}},
		"merged": {"<<", func(g *fileGenerator) string { return g.choose(merges, oddMerges) }},
	}
	partNames = slices.Sorted(maps.Keys(parts))
	drawn = slices.Concat(partNames, []string{
		"ports, short", "ports, long", "container_name", "restart", "logging", "volumes, long", "environment, list",
		"environment, mapping", "environment, address", "networks, list", "networks, mapping",
		"healthcheck, text", "healthcheck, list", "ulimits", "depends_on", "healthcheck, forms",
	})
	parts[otherKey] = part{"", func(g *fileGenerator) string { return g.pick(otherKeys) }}
	partNames = append(partNames, otherKey)
}

// of is what should be taken, in a bad file perhaps with something odd.
func (g *fileGenerator) of(good, odd []string) []string {
	if g.mayBeOdd(4) {
		some := g.pick(odd)
		return append(slices.Clone(good), some, some, some, some, some, some, some, some)
	}
	return good
}

func (g *fileGenerator) ofPairs(good, odd [][2]string) [][2]string {
	if g.mayBeOdd(4) {
		return [][2]string{odd[g.random.IntN(len(odd))]}
	}
	return good
}

// times are the other keys of a health check.
func (g *fileGenerator) times() string {
	text := ""
	for _, key := range []string{"interval", "timeout", "start_period"} {
		if g.one(2) {
			text += "\n  " + key + ": " + g.choose(spans, oddSpans)
		}
	}
	if g.one(2) {
		text += "\n  retries: " + g.choose([]string{"3", "'5'", `"${COUNT}"`, "${NOWHERE:-4}"}, []string{"-1", "1.5", "many", "''", "010", "0"})
	}
	return text
}

func (g *fileGenerator) variables() [][2]string {
	var pairs [][2]string
	for _, name := range variableNames {
		pairs = append(pairs, [2]string{name, g.choose(yamlValues, oddYamlValues)})
	}
	for _, text := range realLife {
		pairs = append(pairs, [2]string{g.pick(variableNames), g.yaml(text)})
	}
	return pairs
}

func (g *fileGenerator) assignments() []string {
	var list []string
	for _, name := range variableNames {
		list = append(list, name+"="+g.choose(texts, oddReferences))
	}
	return g.of(append(list, "TAG", "DB_PASSWORD"), oddAssignments)
}

// dependencies are ways to wait for other services of this file.
func (g *fileGenerator) dependencies() []string {
	other := "db"
	if len(g.services) > 2 && g.one(2) {
		other = g.services[len(g.services)-1]
	}
	return []string{
		" [" + other + "]", "\n  - " + other, " {" + other + ": {condition: service_started}}",
		"\n  " + other + ":\n    condition: service_healthy", " {" + other + ": {condition: service_healthy, required: true, restart: true}}",
		" {gone: {condition: service_started, required: false}}", " []",
	}
}

func (g *fileGenerator) containerNames() []string {
	return []string{g.pick([]string{"pg", "my-cache", "web_1", "a.b"}) + g.text("abcdef", 8), "'x${TAG}" + g.text("abc", 6) + "'"}
}
