package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"net/url"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
)

// model is what a Compose file means, in one form for both readers: our own model's, with lists whose
// order says nothing sorted, and what says nothing left out.
type model map[string]any

// fromOurs is what our reader made of a file.
func fromOurs(raw json.RawMessage) (model, error) {
	var read struct {
		Project  string           `json:"project"`
		App      map[string]any   `json:"app"`
		Base     []map[string]any `json:"base"`
		Networks []map[string]any `json:"networks"`
		Volumes  []map[string]any `json:"volumes"`
	}
	if err := json.Unmarshal(raw, &read); err != nil {
		return nil, err
	}
	made := model{"project": read.Project}
	for _, service := range append(read.Base, read.App) {
		name := service["name"].(string)
		made["services."+name] = ourService(service)
	}
	for kind, resources := range map[string][]map[string]any{"networks": read.Networks, "volumes": read.Volumes} {
		for _, resource := range resources {
			made[kind+"."+resource["key"].(string)] = tidy(resource)
		}
	}
	return made, nil
}

func ourService(service map[string]any) map[string]any {
	delete(service, "name")
	delete(service, "base")
	for _, key := range []string{"mounts", "networks", "extra_hosts", "depends_on", "ports"} {
		if list, is := service[key].([]any); is {
			texts := make([]string, 0, len(list))
			for _, item := range list {
				texts = append(texts, ourItem(key, item))
			}
			slices.Sort(texts)
			service[key] = texts
		}
	}
	aliases, _ := service["aliases"].(map[string]any)
	for _, list := range aliases {
		slices.SortFunc(list.([]any), func(one, other any) int { return strings.Compare(one.(string), other.(string)) })
	}
	if check, is := service["healthcheck"].(map[string]any); is {
		for _, key := range []string{"interval", "timeout", "start_period"} {
			check[key] = span(check[key])
		}
		if test, is := check["test"].([]any); is && len(test) == 1 && test[0] == "NONE" {
			service["healthcheck"] = map[string]any{"test": test}
		}
	}
	service["stop_grace_period"] = span(service["stop_grace_period"])
	if failed, is := service["restart"].(map[string]any); is {
		service["restart"] = fmt.Sprintf("OnFailure:%v", failed["OnFailure"].(map[string]any)["retries"])
	}
	return tidy(service)
}

func ourItem(key string, item any) string {
	switch key {
	case "ports":
		port := item.(map[string]any)
		ip, _ := port["ip"].(string)
		return fmt.Sprintf("%s %v %v", ip, port["host"], port["container"])
	case "mounts":
		parts := strings.SplitN(item.(string), ":", 3)
		if len(parts) == 3 {
			options := strings.Split(parts[2], ",")
			slices.Sort(options)
			parts[2] = strings.Join(slices.Compact(options), ",")
		}
		return strings.Join(parts, ":")
	}
	return item.(string)
}

// span is a span of time in nanoseconds.
func span(read any) any {
	if given, is := read.(map[string]any); is {
		return given["secs"].(float64)*1e9 + given["nanos"].(float64)
	}
	return nil
}

// fromCompose is what Compose made of a file.
func fromCompose(project *types.Project) model {
	made := model{"project": project.Name}
	used := map[string]bool{}
	for name, service := range project.Services {
		for key := range service.Networks {
			used[key] = true
		}
		made["services."+name] = tidy(theirService(project, service))
	}
	for key, network := range project.Networks {
		// Compose makes what is used.
		if key == "default" && !used[key] && network.Driver == "" && len(network.DriverOpts) == 0 {
			continue
		}
		made["networks."+key] = tidy(map[string]any{
			"key": key, "name": network.Name, "driver": network.Driver, "driver_opts": network.DriverOpts,
			"external": bool(network.External), "internal": network.Internal,
		})
	}
	for key, volume := range project.Volumes {
		made["volumes."+key] = tidy(map[string]any{
			"key": key, "name": volume.Name, "driver": volume.Driver, "driver_opts": volume.DriverOpts,
			"external": bool(volume.External),
		})
	}
	return made
}

func theirService(project *types.Project, s types.ServiceConfig) map[string]any {
	mounts, tmpfs := theirMounts(project, s)
	networks, aliases := []string{}, map[string][]string{}
	for key, given := range s.Networks {
		name := project.Networks[key].Name
		networks = append(networks, name)
		if given != nil {
			aliases[name] = append(aliases[name], given.Aliases...)
			slices.Sort(aliases[name])
		}
	}
	slices.Sort(networks)
	networks = slices.Compact(networks)
	hosts := []string{}
	for name, addresses := range s.ExtraHosts {
		for _, address := range addresses {
			hosts = append(hosts, name+":"+address)
		}
	}
	slices.Sort(hosts)
	environment := map[string]string{}
	for name, value := range s.Environment {
		if value != nil {
			environment[name] = *value
		}
	}
	dependsOn := []string{}
	for name := range s.DependsOn {
		// One that is off is nothing to wait for.
		if _, on := project.Services[name]; on {
			dependsOn = append(dependsOn, name)
		}
	}
	slices.Sort(dependsOn)
	made := map[string]any{
		"image": s.Image, "command": wordsOf(s.Command), "entrypoint": wordsOf(s.Entrypoint), "environment": environment,
		"mounts": mounts, "tmpfs": tmpfs, "ports": theirPorts(s.Ports), "networks": networks, "aliases": aliases,
		"depends_on": dependsOn, "healthcheck": theirHealthcheck(s.HealthCheck), "restart": theirRestart(s.Restart),
		"shm_size": int64(s.ShmSize), "mem_limit": int64(s.MemLimit), "nano_cpus": math.Round(float64(s.CPUS) * 1e9),
		"stop_grace_period": s.StopGracePeriod, "stop_signal": s.StopSignal, "user": s.User,
		"working_dir": s.WorkingDir, "labels": s.Labels, "read_only": s.ReadOnly, "cap_add": s.CapAdd,
		"cap_drop": s.CapDrop, "security_opt": s.SecurityOpt, "extra_hosts": hosts, "init": s.Init,
		"container_name": s.ContainerName, "hostname": s.Hostname, "pids_limit": s.PidsLimit,
		"platform": s.Platform,
	}
	if s.StopGracePeriod != nil {
		made["stop_grace_period"] = time.Duration(*s.StopGracePeriod)
	}
	if s.Logging != nil {
		made["logging"] = map[string]any{"driver": s.Logging.Driver, "options": s.Logging.Options}
	}
	ulimits := map[string]any{}
	for name, limit := range s.Ulimits {
		soft, hard := limit.Soft, limit.Hard
		if limit.Single != 0 {
			soft, hard = limit.Single, limit.Single
		}
		// Docker takes a limit's name in any case.
		ulimits[strings.ToLower(name)] = map[string]int{"soft": soft, "hard": hard}
	}
	made["ulimits"] = ulimits
	if s.PullPolicy != "missing" {
		made["pull_policy"] = s.PullPolicy
	}
	return made
}

// wordsOf keeps apart an empty command from none.
func wordsOf(command types.ShellCommand) any {
	if command == nil {
		return nil
	}
	return wordList(command)
}

type wordList []string

func theirMounts(project *types.Project, s types.ServiceConfig) ([]string, map[string]string) {
	mounts, tmpfs := []string{}, map[string]string{}
	for _, given := range s.Tmpfs {
		target, options, _ := strings.Cut(given, ":")
		tmpfs[target] = options
	}
	for _, volume := range s.Volumes {
		var options []string
		if volume.ReadOnly {
			options = append(options, "ro")
		}
		source := volume.Source
		switch volume.Type {
		case types.VolumeTypeTmpfs:
			if given := volume.Tmpfs; given != nil {
				if given.Size != 0 {
					options = append(options, fmt.Sprintf("size=%d", given.Size))
				}
				if given.Mode != 0 {
					options = append(options, fmt.Sprintf("mode=%o", given.Mode))
				}
			}
			tmpfs[volume.Target] = strings.Join(options, ",")
			continue
		case types.VolumeTypeVolume:
			source = project.Volumes[source].Name
			if volume.Volume != nil && volume.Volume.NoCopy {
				options = append(options, "nocopy")
			}
		case types.VolumeTypeBind:
			source = path.Clean(source)
		}
		if volume.Bind != nil {
			options = append(options, volume.Bind.SELinux, volume.Bind.Propagation)
		}
		options = slices.DeleteFunc(options, func(option string) bool { return option == "" })
		slices.Sort(options)
		mount := source + ":" + volume.Target
		if len(options) > 0 {
			mount += ":" + strings.Join(options, ",")
		}
		mounts = append(mounts, mount)
	}
	slices.Sort(mounts)
	return mounts, tmpfs
}

func theirPorts(given []types.ServicePortConfig) []string {
	ports := []string{}
	for _, port := range given {
		ip := port.HostIP
		if parsed, err := netip.ParseAddr(ip); err == nil {
			ip = parsed.String()
		}
		ports = append(ports, fmt.Sprintf("%s %s %d/%s", ip, port.Published, port.Target, strings.ToLower(port.Protocol)))
	}
	slices.Sort(ports)
	return ports
}

func theirHealthcheck(given *types.HealthCheckConfig) any {
	if given == nil {
		return nil
	}
	if given.Disable || len(given.Test) > 0 && given.Test[0] == "NONE" {
		return map[string]any{"test": []string{"NONE"}}
	}
	check := map[string]any{"test": given.Test, "retries": given.Retries}
	for key, value := range map[string]*types.Duration{
		"interval": given.Interval, "timeout": given.Timeout, "start_period": given.StartPeriod,
	} {
		if value != nil {
			check[key] = time.Duration(*value)
		}
	}
	return check
}

func theirRestart(given string) string {
	switch policy, times, _ := strings.Cut(given, ":"); policy {
	case "", "no":
		return "No"
	case "always":
		return "Always"
	case "unless-stopped":
		return "UnlessStopped"
	case "on-failure":
		return "OnFailure:" + strconv.Itoa(atoi(times))
	default:
		return given
	}
}

func atoi(text string) int {
	number, _ := strconv.Atoi(text)
	return number
}

// tidy brings a value through JSON, so that both sides have the same types, and leaves out what says
// nothing: Docker takes no text, no number and no list for what is not given. A command is another matter.
func tidy(given map[string]any) map[string]any {
	raw, err := json.Marshal(given)
	if err != nil {
		fail(err)
	}
	var made map[string]any
	if err := json.Unmarshal(raw, &made); err != nil {
		fail(err)
	}
	maps.DeleteFunc(made, func(key string, value any) bool {
		switch key {
		case "command", "entrypoint", "init":
			return value == nil
		case "aliases":
			maps.DeleteFunc(value.(map[string]any), func(_ string, list any) bool { return saysNothing(list) })
		case "healthcheck", "logging":
			if inner, is := value.(map[string]any); is {
				maps.DeleteFunc(inner, func(_ string, value any) bool { return saysNothing(value) })
				if len(inner) > 0 {
					return false
				}
			}
		}
		return saysNothing(value)
	})
	return made
}

func saysNothing(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case string:
		return value == ""
	case bool:
		return !value
	case float64:
		return value == 0
	case []any:
		return len(value) == 0
	case map[string]any:
		return len(value) == 0
	default:
		return false
	}
}

// differences between what Compose made of a file and what we made of it, a line each.
func differences(theirs, ours model) []string {
	var different []string
	add := func(place string, one, other any) {
		different = append(different, fmt.Sprintf("%s: Compose %v, ours %v", place, shown(one), shown(other)))
	}
	for _, section := range union(theirs, ours) {
		one, isOne := theirs[section].(map[string]any)
		other, isOther := ours[section].(map[string]any)
		if !isOne || !isOther {
			if !reflect.DeepEqual(theirs[section], ours[section]) {
				add(section, theirs[section], ours[section])
			}
			continue
		}
		for _, key := range union(one, other) {
			if !alike(section, key, one[key], other[key]) {
				add(section+"."+key, one[key], other[key])
			}
		}
	}
	return different
}

func shown(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func union[V any](one, other map[string]V) []string {
	keys := map[string]bool{}
	for key := range one {
		keys[key] = true
	}
	for key := range other {
		keys[key] = true
	}
	return slices.Sorted(maps.Keys(keys))
}

func alike(section, key string, theirs, ours any) bool {
	switch {
	case key == "nano_cpus":
		// Compose holds them in 32 bits.
		one, _ := theirs.(float64)
		other, _ := ours.(float64)
		return math.Abs(one-other) <= math.Abs(one)*1e-6
	case key == "environment" && section == "services."+app:
		one, _ := theirs.(map[string]any)
		other, _ := ours.(map[string]any)
		for _, name := range union(one, other) {
			left, isLeft := one[name].(string)
			right, isRight := other[name].(string)
			if isLeft != isRight || left != right && !sameAddress(left, right) {
				return false
			}
		}
		return true
	default:
		return reflect.DeepEqual(theirs, ours)
	}
}

// sameAddress tells whether an address is the other with its user part encoded: the one difference that
// is meant.
func sameAddress(theirs, ours string) bool {
	scheme, rest, isAddress := strings.Cut(ours, "://")
	user, place, hasUser := strings.Cut(rest, "@")
	if !isAddress || !hasUser {
		return false
	}
	plain, err := url.PathUnescape(user)
	if err != nil {
		return false
	}
	written, hasScheme := strings.CutPrefix(theirs, scheme+"://")
	written, hasPlace := strings.CutSuffix(written, "@"+place)
	if !hasScheme || !hasPlace {
		return false
	}
	// What is written into the address itself is encoded already.
	unescaped, err := url.PathUnescape(written)
	return written == plain || err == nil && unescaped == plain
}
