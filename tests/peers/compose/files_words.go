package main

var (
	networkNames = []string{"front", "back"}
	volumeNames  = []string{"data", "logs"}
)

// What files share in them.
const commonParts = `x-log: &log
  driver: json-file
  options: {max-size: "10m", max-file: '3'}
x-env: &env {SHARED: one, LEVEL: info}
x-base: &base
  restart: unless-stopped
  logging: *log
  environment: *env`

var images = []string{
	"postgres:17", "docker.io/library/redis", "registry.example.org:5000/team/app:1.0", "ghcr.io/a/b_c:v1.2.3-rc.1",
	"postgres:${TAG}", "alpine@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "a:${NOWHERE:-latest}",
	"localhost/x", "a:$TAG",
}

var oddImages = []string{
	"Postgres:17", "https://x/y", "a b", "a:", "", "${NOWHERE}", "a:b:c", "a@sha256:1", "CHANGE_ME", "-a", "a//b", "5",
}

var passwords = []string{
	"simple", "a/b@c", "p@ss:w#rd?", "x%y", "p%41ss", "it's", `quo"te`, "sp ace", "dollar$sign", "${NOT_A_REF}", "é", "[x]", "a&b=c",
}

var commands = []string{
	"serve", "postgres -c shared_buffers=256MB -c 'log_line_prefix=%m [%p] '", `sh -c "echo $$HOME && sleep 1"`, "a  b\tc",
	`redis-server --save "" --appendonly no`, `x \"y\" z`, `a\ b c`, `--flag="a b" --other='c d'`, "run # not a comment", "${TAG} x",
	"a ${EMPTY} b", "a '${DB_HOST}' b", `printf 'a\tb'`, `"a\nb" c`, "echo {a,b} [c] *.txt ~ %d", "a=b c=d", "", "  spaces  ",
	"java -Xmx512m -jar app.jar", `'it'"'"'s'`, "é ü", "-v", "a !b ^c", `"` + "a`b" + `"`,
}

var oddCommands = []string{
	"a; b", "a && b", "a | b", "a > /dev/null", "a 'b", `a "b`, `a \`, "$(date) x", "a `b`", "(a)", "a 2>&1", "a & b", "$NOWHERE x",
	"${", "${TAG", "a $5 b$", "$$", "pa$word", "~", "null", "true", "5", "[a", "{a: b}", "CHANGE_ME",
}

var commandWords = []string{
	"serve", "--port", "8080", "a b", "it's", `say "hi"`, "-c", "x;y|z", "$$HOME", "${TAG}", "${NOWHERE:-d}", `C:\x`, "é", "a: b", "# c", "*", "",
	"{x}", "true", "!a", "%b", "@c",
}

var variableNames = []string{"A", "B", "LOG_LEVEL", "POSTGRES_PASSWORD", "lower", "with.dot", "with-dash", "X1"}

// Values in a mapping, as YAML.
var yamlValues = []string{
	"text", "'quoted'", `"double"`, "5", "'010'", "true", "false", "1.5", "-3", "${TAG}", "'${DB_PASSWORD}'", `"${EMPTY:-def}"`, "''",
	"a b c", "$$x", "'$5'", "${NOWHERE:-}", "${NOWHERE-x}", "${TAG:+set}", "${NOWHERE+set}", "pa$", "|\n    line one\n    line two",
	">-\n    folded\n    text", "http://x/y?z=1", "\"a\\tb\"", "yes", "no", "on", "2026-11-25", "12:30:45", "a: 'b'"[:1], "v1.0", "1.2.3", "0x",
	"${TAG:-${NOWHERE}}", "${NOWHERE:-${TAG}}", "'{\"a\": \"b\"}'", "\"it's\"", "'it''s'", "!!str 5", "0", "1e", "!!str true",
}

var oddYamlValues = []string{
	"010", "0x10", "0o17", "1.10", "1e3", "True", "FALSE", "Yes", "NULL", "~", "null", "", ".inf", "1_000", "+5", "-0", "08", "12345678901234567890",
	"${NOWHERE}", "$NOWHERE", "${}", "${", "${A!b}", "[a, b]", "{a: b}", "*log", "*env", "!!int 5", "!!bool yes", "!!float 1", "!custom x", "CHANGE_ME",
	"a: b", "\"unclosed", "'x", "${TAG:?why}", "${EMPTY:?must be set}", "${NOWHERE?}", "&anchor x", "\"\\x41\"", "\"\\0\"", "1:30", "0b1", ".5", "5.",
	"2026-11-25T10:00:00Z", "-.inf", "1.0", "00", "-05", "0.00001", "123456789012345678", "1.23456789012345678",
}

var texts = []string{
	"text", "a b", "", "5", "010", "true", "${TAG}", "${DB_PASSWORD}", "${EMPTY:-d}", "$$x", "a=b", "'q'", `"q"`, "#x", "a #b", "1.10", "~", "é",
	"x: y", "${NOWHERE:-a b}", "${TAG:+yes}", "$5", "100%", `C:\d`, "{j: 1}",
}

var oddReferences = []string{"${NOWHERE}", "$NOWHERE", "${", "${TAG", "${EMPTY:?set it}", "CHANGE_ME", "${}", "$TAG$NOWHERE", "${TAG}}", "${NOWHERE?}"}

var oddAssignments = []string{"NAME ALONE", "=x", "NOWHERE_AT_ALL", " B=c", "C =d", "${TAG}=x", "${DB_HOST}", "A: b", "", "EMPTY", "X=1=2"}

var addresses = []string{
	"postgres://u:${DB_PASSWORD}@db:5432/app?sslmode=disable", "postgres://${DB_HOST}:${DB_PASSWORD}@${DB_HOST}/x", "redis://:${DB_PASSWORD}@cache/0",
	"https://example.org/${DB_PASSWORD}", "amqp://guest:guest@mq:5672/%2F", "smtp://${NOWHERE:-u}@mail:25", "see x://${DB_PASSWORD}@h", "mailto:a@b.org",
	"x://h?p=${DB_PASSWORD}@", "postgres://u:plain%2Fencoded@db/x",
}

var envFileForms = []string{"extra.env", "./extra.env", "[extra.env, more.env]", "\n  - extra.env\n  - ./more.env", "\n  - path: extra.env", "\n  - {path: gone.env, required: false}\n  - more.env", "'~/extra.env'", "\n  - {path: ./more.env, required: true}"}

var oddEnvFiles = []string{"gone.env", "[gone.env]", "\n  - {required: true}", "{path: extra.env}", "''", "5", "[[extra.env]]", "\n  - {path: extra.env, format: raw}", "${NOWHERE}", "[extra.env, extra.env]", "."}

var mountForms = []string{
	"data:/data", "logs:/logs:ro", "./init:/init", "../up:/up:ro", "/srv/x:/x", "~/home:/home/x", ".:/here", "data:/other:nocopy", "/srv/z:/z:z",
	"/srv/Z:/Z:Z", "/etc/localtime:/etc/localtime:ro", "./a:/a:ro,z", "/srv/p:/p:rslave", "/srv/rw:/rw:rw", "./t/:/t/", "/srv//d/../e:/dd/./f", "logs:/${TAG}",
	"${NOWHERE:-./dflt}:/dflt", "data:/d2:ro,nocopy",
}

var oddMounts = []string{
	"gone:/x", "/anonymous", "data", "data:relative", "data:/x:bad", "data:/x:ro:y", ":/x", "data:", "a b:/x", "/srv:/data", "data:/data:ro", "~bob/x:/x", "c:/x:/y",
	"data:/x:cached", "/srv/c:/c:cached", "/srv/d:/d:delegated", "/srv/e:/e:consistent", "${NOWHERE}:/x", "data:/x:z", "./x", "x", "/srv/sh:/sh:rshared,ro", "data:/", "/srv/q:/q:ro,rw",
	"data:/x:volume-nocopy", "/srv/u:/u:U", "data:/q:private",
}

var longMounts = []string{
	"{type: volume, source: data, target: /data}", "{type: bind, source: ./a, target: /a, read_only: true}", "{type: tmpfs, target: /run/x, tmpfs: {size: 64m}}",
	"type: bind\n    source: ~/b\n    target: /b\n    bind: {selinux: z}", "{type: volume, source: logs, target: /l/, volume: {nocopy: true}}",
	"{type: bind, source: /srv, target: /srv, bind: {propagation: rslave, create_host_path: true}}", "{type: tmpfs, target: /m, tmpfs: {size: 1000000, mode: 1023}}",
	"{type: tmpfs, target: /n}", "{type: volume, source: data, target: /d, read_only: false, consistency: cached}", "{type: bind, source: '${DB_HOST}', target: /dbh}",
	"{type: bind, source: relative, target: /r}", "{type: tmpfs, target: /o, tmpfs: {mode: 0755}}", "{type: tmpfs, target: /oo, tmpfs: {mode: 0o700, size: \"${SIZE}\"}}",
}

var moreLongMounts = []string{"data:/second", "{type: volume, source: logs, target: /third}", "./short:/fourth:ro", "{type: tmpfs, target: /fifth, read_only: true}"}

var oddLongMounts = []string{
	"{type: bind, target: /a}", "{source: data, target: /data}", "{type: volume, target: /anon}", "{type: npipe, source: a, target: /b}", "{type: bind, source: /x, target: /x, bind: {create_host_path: false}}",
	"{type: volume, source: gone, target: /g}", "{type: bind, source: /a, target: rel}", "{type: tmpfs, target: /t, tmpfs: {size: many}}", "{type: volume, source: data, target: /v, volume: {subpath: x}}",
	"{type: tmpfs, target: /p, tmpfs: {mode: 01777}}", "{type: tmpfs, target: /w, tmpfs: {mode: '1777'}}", "{type: tmpfs, target: /w2, tmpfs: {mode: '0755'}}", "{type: bind, source: /x, target: /x, read_only: 5}", "{type: cluster, source: a, target: /b}", "{type: bind, source: '', target: /e}",
	"{type: volume, source: ./data, target: /dd}", "{type: image, source: alpine, target: /img}", "{type: tmpfs, source: x, target: /s}", "{type: bind, source: /x}", "{type: volume, source: data, target: /b, bind: {selinux: z}}", "5", "[]", "{}",
}

var tmpfsForms = []string{"/tmp", "[/run, /tmp]", "/run:size=64m,mode=1777", "\n  - /a\n  - /b:noexec", "[]"}

var oddTmpfs = []string{"relative", "''", "5", "[/a, /a]", "{/a: b}", "/x:", "/x/", "[/x/../y]", "/data", "~"}

var portForms = []string{"5432:5432", "127.0.0.1:5433:5432", "53:53/udp", "8000-8002:9000-9002", "[::1]:8080:80", "0.0.0.0:90:90", "${PORT}:80", "81:81/tcp", "8443:443/TCP", "127.0.0.1:9000-9001:9000-9001"}

var oddPorts = []string{"8080", "8080/udp", "0:80", "80:http", "9-8:9-8", "70000:80", "80:80/icmp", "host:80:80", "8000-8010:80", "127.0.0.1::80", ":80", "80:", "8081:80", "8082:80", "127.0.0.1:8081:1", "0.0.0.0:8081:1", "8080:80:", "", "3000-3001", "80:80/tcp/udp", "::1:80:80", "80:0", "5353:53/sctp", "22:22", "5432:5433", "08:80", "+8:80", "8 :80", "192.168.0.1:5432:5432", "1-2:3-4/udp", "[::]:77:77"}

var longPorts = []string{"{target: 80, published: 8090}", "{target: 80, published: '8091', host_ip: 127.0.0.1, protocol: udp}", "{target: 5432, published: \"${PORT}\", mode: host}", "{target: 80, published: 8092, mode: ingress, name: web, app_protocol: http}", "target: 443\n    published: \"9443\"", "{target: 80, published: 8093, protocol: tcp}"}

var oddLongPorts = []string{"{target: 80}", "{published: 80}", "{target: 80, published: '8000-8010'}", "{target: '80', published: 1}", "{target: 80, published: x}", "{target: 0, published: 1}", "{target: 80, published: 0}", "{target: 80, published: 8081}", "{target: 80, published: 70000}", "{target: 80, published: 5, protocol: icmp}", "{target: 80, published: 5, protocol: TCP}", "{target: 80, published: 5, mode: other}", "{target: 80, published: 5, host_ip: host}", "5432", "5432:5432", "8080:80", "59:59", "22:22", "60:60", "{target: '80-81', published: '80-81'}", "{target: 80, published: ''}", "{target: 80, published: 5, host_ip: ''}", "{target: 80, published: 5, x-a: b}", "{}"}

var oddNetworks = []string{"gone", "default", "", "inner", "${NOWHERE}", "host"}

var networkForms = [][2]string{{"front", ""}, {"back", "{}"}, {"front", "{aliases: [a, b]}"}, {"back", "\n    aliases:\n      - x.example.org\n      - ${TAG}y"}, {"front", "{priority: 5}"}, {"default", "{aliases: [main]}"}, {"back", "~"}, {"front", "{aliases: []}"}}

var oddNetworkForms = [][2]string{{"gone", ""}, {"front", "{ipv4_address: 10.0.0.5}"}, {"back", "text"}, {"front", "[]"}, {"front", "{aliases: a}"}, {"back", "{mac_address: '02:42:ac:11:65:43'}"}, {"front", "{aliases: [a, a]}"}, {"back", "{x-a: 1}"}, {"front", "{priority: many}"}, {"back", "{gw_priority: 1}"}, {"front", "{driver_opts: {a: b}}"}, {"back", "{unknown: 1}"}}

var oddDependencies = []string{" [gone]", " [app]", " {db: {condition: service_completed_successfully}}", " {db: {condition: other}}", " db", " {db: }", " {db: {}}", " [db, db]", " [cache]", " [web]", " {gone: {condition: service_started}}", " {db: {condition: service_started, unknown: 1}}", " [mail-1]", " [5]", " ['']", " {db: service_started}"}

var healthTexts = []string{"pg_isready", "curl -f http://localhost:8080/health || exit 1", "test -f /x && echo $$HOME", "wget -q ${DB_HOST}", "a  b", "true"}

var healthLists = []string{"[CMD, pg_isready, -U, postgres]", "['CMD-SHELL', 'curl -f x || exit 1']", "[NONE]", "[\"CMD\", \"a b\", \"$${X}\"]", "\n    - CMD\n    - redis-cli\n    - ping"}

var oddHealthLists = []string{"[]", "[a, b]", "[CMD]", "[CMD-SHELL]", "[CMD-SHELL, a, b]", "[NONE, a]", "''", "NONE", "[cmd, x]", "5", "{a: b}", "~", "[CMD, 5]", "[CMD, '']", "[CMD-SHELL, '']", "[CMD, ~]"}

var healthForms = []string{"{disable: true}", "{test: [NONE]}", "{interval: 5s}", "{disable: false, test: a}", "{test: [CMD, a], start_period: 1m, retries: 2}", "{timeout: \"${SPAN}\"}", "{disable: true, test: [CMD, a], interval: 5s}"}

var oddHealthForms = []string{"{start_interval: 5s}", "{}", "~", "{disable: 'true'}", "{disable: yes}", "[a]", "text", "{unknown: 1}", "{interval: 5}", "{interval: 0s}", "{retries: '3'}", "{x-a: 1}", "{disable: \"${SWITCH}\"}", "{interval: ''}", "{test: }"}

var restarts = []string{"unless-stopped", "\"no\"", "'unless-stopped'", "unless-stopped", "${NOWHERE:-unless-stopped}", "'no'"}

var oddRestarts = []string{"always", "on-failure", "on-failure:3", "no", "false", "sometimes", "''", "on-failure:x", "on-failure:-1", "ALWAYS", "~", "on-failure:", "'false'", "true", "off", "No", "always:3", "on-failure:03", "on-failure: 3", "unless-stopped:1", "' no'"}

var sizes = []string{"64m", "1g", "512M", "1GB", "268435456", "1.5g", "'128mb'", "${SIZE}", "64MiB", "100k", "1024b", "1kb", "\"2G\"", "1 g"}

var oddSizes = []string{"many", "-1", "''", "1.g", "64 apples", ".5g", "1e6", "1t", "1p", "1.55555555555g", "m", "1i", "0", "0.5", "1,5g", "010", "1_000", "0x10", " 64m", "64m ", "-5m", "1.0", "1.5", "true", "[1]", "1e3m", "9999999999g", "1eb", "1mi", "+5m", "~", "1.5.5m", "1GIB", "1kiB"}

var cpus = []string{"0.5", "'1.5'", "2", "\"0.25\"", "${NOWHERE:-1}", "0.1", "1.0"}

var oddCpus = []string{"many", "-1", "''", "1e0", ".5", "0", "1,5", "true", "1.", "0x1", "5e-1", "[1]", "~", "0.123456789012", "+1", "' 1'", "1_0", "inf", "nan"}

var limits = []string{"100", "'200'", "-1", "\"${COUNT}\"", "0"}

var oddLimits = []string{"many", "1.5", "''", "-2", "010", "1e3", "true", "1_000", "0x10", "~", "99999999999999999999", "'0x10'", "'010'", "100.0", "'1_000'"}

var ulimitForms = []string{"{nofile: 65536}", "\n  nofile:\n    soft: 1024\n    hard: 2048", "{nproc: '512', nofile: {soft: 1, hard: 2}}", "{memlock: {soft: -1, hard: -1}}", "{memlock: -1}", "{core: 0}", "{nofile: \"${COUNT}\"}"}

var oddUlimits = []string{"{nofile: many}", "{nofile: {soft: 1}}", "{nofile: {hard: 1}}", "{NOFILE: 5}", "{nofile: {soft: '1', hard: '2'}}", "{nofile: 1.5}", "{nofile: {soft: 5, hard: 1}}", "[nofile]", "{nofile: }", "{nofile: {}}", "{unknown_limit: 5}", "{nofile: -2}", "{nofile: {soft: 1, hard: 2, x-a: 3}}", "{}", "{no-file: 5}", "{nofile: 010}", "{core: {soft: 0, hard: 0}}"}

var spans = []string{"30s", "1m30s", "'500ms'", "1h", "\"${SPAN}\"", "1.5s", "10us", "2m", "0s", "1m"}

var oddSpans = []string{"30", "''", "-5s", "soon", "1d", "1w", "5 s", "0", "1.5", "1s500ms", "1h1h", "~", "1M", "30S", ".5s", "1s1m", "10µs", "5.s", "+5s", "1e3s", "[1s]", "true", "100ns", "99999999999h", "1d12h", "1.5d", "1m 30s", "010s", "1_0s"}

var signals = []string{"SIGINT", "SIGTERM", "INT", "'15'", "${NOWHERE:-SIGQUIT}"}

var oddTexts = []string{"5", "true", "''", "~", "[a]", "{a: b}", "010", "1.5", "${NOWHERE}", "CHANGE_ME", "'${EMPTY}'", "1000:1000", "0x10"}

var users = []string{"'1000'", "\"1000:1000\"", "postgres", "'0:0'", "\"${COUNT}\""}

var folders = []string{"/app", "/", "'/a b'", "/x/${TAG}"}

var hostnames = []string{"db.example.org", "node-1", "${DB_HOST}"}

var switches = []string{"true", "false", "\"${SWITCH}\""}

var oddSwitches = []string{"yes", "no", "on", "off", "'true'", "True", "TRUE", "1", "0", "''", "~", "y", "'yes'", "maybe", "[true]", "t", "'1'", "\"on\"", "tRuE", "' true'", "\"${EMPTY}\"", "\"False\"", "n", "YES", "\"${NOWHERE:-yes}\""}

var loggings = []string{"*log", "{driver: json-file, options: {max-size: 10m, max-file: '3'}}", "{driver: none}", "\n  driver: local\n  options:\n    max-size: \"${SIZE}\"", "{options: {max-file: 3}}", "{driver: syslog, options: {tag: '{{.Name}}', syslog-address: 'tcp://1.2.3.4:514'}}"}

var oddLoggings = []string{"{driver: json-file, options: {max-file: 010}}", "json-file", "{}", "~", "{options: [a]}", "{driver: 5}", "{options: {a: ~}}", "{options: {a: true}}", "{options: {a: [b]}}", "{unknown: a}", "{driver: a, x-b: c}", "{options: {a: 1.10}}", "{options: {a: ''}}", "{driver: ''}"}

var labelForms = []string{"\n  a.b.c: 'd'\n  e: \"${TAG}\"", " [a=b, 'c=d e']", "\n  - traefik.enable=true\n  - traefik.http.routers.x.rule=Host(`${DB_HOST}`)", " {a: b, c: true, d: 5, e: ''}", "\n  - alone", " {}", " {a: }", "\n  - a=b=c\n  - d="}

var oddLabels = []string{" {a: 010}", " [a, a]", " {a: [b]}", " text", " {a: 1.10}", " {a: {b: c}}", " ['=x']", " ['']", " {a: True}", " [5]", " [{a: b}]", " {5: a}", " {'${TAG}': x}", " ['${TAG}=x']", " {a: ~}", " ['a = b']", " {a: 1e3}", " ['a=$NOWHERE']", " {true: b}", " {1.5: b}", " ['${DB_HOST}']"}

var capabilities = []string{"NET_ADMIN", "SYS_TIME", "ALL", "net_raw"}

var drops = []string{"[ALL]", "[NET_RAW, CHOWN]", "\n  - ALL", "[]"}

var oddDrops = []string{"ALL", "[5]", "[ALL, ALL]", "{a: b}", "~", "['']", "[true]"}

var securities = []string{"no-new-privileges:true", "apparmor=unconfined", "seccomp:unconfined", "no-new-privileges"}

var hostForms = []string{" ['host.docker.internal:host-gateway']", "\n  - a:10.0.0.1\n  - b=10.0.0.2", " {a: 10.0.0.1, b: '::1'}", " ['c:[::1]']", " ['d=::1']", "\n  - ${DB_HOST}:127.0.0.1", " ['e:::1']", " {f: '[::1]'}", " []"}

var oddHosts = []string{" ['alone']", " {a: [10.0.0.1, 10.0.0.2]}", " [':1.2.3.4']", " {a: }", " text", " ['a:']", " ['a:b', 'a:c']", " {a: 5}", " ['a:1.2.3.4', 'a:1.2.3.4']", " ['a=']", " [5]", " ['']", " {'': x}", " ['a : b']", " ['a=b=c']", " {a: 'b:c'}", " {a: []}", " [{a: b}]"}

var profileForms = []string{"[debug]", "['debug', tools]", "\n  - debug", "[]", "['other']"}

var oddProfiles = []string{"debug", "[5]", "['']", "[debug, debug]", "[a b]", "~", "{a: b}", "['*']", "['-x']", "['${TAG}']", "[tools]", "[\" debug\"]"}

var platforms = []string{"linux/amd64", "linux/arm64/v8", "'linux/amd64'", "${NOWHERE:-linux/amd64}", "\"${EMPTY}\""}

var oddPlatforms = []string{"linux//x", "amd64", "5", "a b", "linux", "''", "linux/amd64/v1/x", "~", "LINUX/AMD64", "[a]"}

var pulls = []string{"missing", "never", "if_not_present"}

var oddPulls = []string{"always", "build", "daily", "every_12h", "sometimes", "''", "weekly", "refresh", "~", "every_1x", "MISSING"}

var oddContainerNames = []string{"a", "-x", "togather-blue", "node-db", "same", "a/b", "''", "5", "a b", "${NOWHERE}", "~", "1.5", "node-cache", "ü"}

var exposes = []string{"[5432]", "['80/tcp', 90-91]", "[]", "['${PORT}']"}

var merges = []string{"<<: *base", "<<: [*base]", "<<: {read_only: true}", "<<: [*base, {init: true}]"}

var oddMerges = []string{"<<: text", "<<: *log", "<<: [*base, text]", "<<: ~", "image: twice", "<<: *gone", "'<<': *base", "<<: []", "? [a]\n: b", "5: x", "<<: *env", "*env", "  odd: indent", "- item"}

var otherKeys = []string{
	"build: .", "deploy: {replicas: 2}", "network_mode: host", "privileged: true", "devices: ['/dev/x:/dev/x']", "secrets: [a]", "links: [db]", "sysctls: {a: b}", "tty: true",
	"extends: {service: db}", "stdin_open: true", "unknown: key", "scale: 2", "dns: 1.1.1.1", "labels: !reset []", "mem_reservation: 1m", "group_add: [a]", "external_links: [a]",
	"volumes_from: [db]", "pid: host", "develop: {}", "gpus: all", "runtime: x", "domainname: x", "label_file: x", "ipc: host", "annotations: {a: b}", "attach: false",
	"oom_kill_disable: true", "cpu_shares: 5", "blkio_config: {weight: 5}", "userns_mode: host", "configs: [a]", "iamge: x", "storage_opt: {size: 1g}", "post_start: [{command: a}]",
}
