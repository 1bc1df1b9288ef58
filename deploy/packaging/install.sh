#!/bin/sh
# Makes a Debian machine a Togather node, or repairs one: run it as often as you like.
#
# It never overwrites what is yours: your Caddyfile, docker-compose.yml and .env file stay as
# they are unless you name a new one.
set -eu

usage() {
    cat << 'TEXT'
usage: install.sh [--binary PATH] [--bundle DIR] [--compose FILE] [--env FILE]
                  [--agent-env FILE] [--replace-caddyfile]

Makes this Debian machine a Togather node. Without options: Docker Engine, Caddy, the user
togather, its folders and the systemd service.

  --binary PATH         the togather-agent program, copied to /usr/bin
  --bundle DIR          the folder that `togather-ctl node add` made for this node
  --compose FILE        what runs on this node, copied to /etc/togather/docker-compose.yml
  --env FILE            the app's environment and secrets, copied to /etc/togather/.env.production (or
                        .env.staging, .env.development: as `environment` in agent.yml says)
  --agent-env FILE      the agent's own environment: credentials of the snapshot store, copied to
                        /etc/togather/agent.env, which only root can read
  --replace-caddyfile   put Togather's Caddyfile in place of the one that is there
TEXT
}

say() { printf 'install: %s\n' "$*"; }
fail() {
    printf 'install: %s\n' "$*" >&2
    exit 1
}

here=$(cd "$(dirname "$0")/.." && pwd)
binary='' bundle='' compose='' environment='' agent_environment='' replace_caddyfile=no
while [ $# -gt 0 ]; do
    case $1 in
        --binary | --bundle | --compose | --env | --agent-env)
            [ $# -ge 2 ] || fail "$1 needs a path; see install.sh --help"
            case $1 in
                --binary) binary=$2 ;;
                --bundle) bundle=$2 ;;
                --compose) compose=$2 ;;
                --env) environment=$2 ;;
                --agent-env) agent_environment=$2 ;;
            esac
            shift 2
            ;;
        --replace-caddyfile) replace_caddyfile=yes && shift ;;
        -h | --help) usage && exit 0 ;;
        *) usage >&2 && fail "unknown option: $1" ;;
    esac
done

# --- look before touching anything --------------------------------------------------------------
[ "$(id -u)" = 0 ] || fail "this changes the system: run it as root (sudo $0)"
command -v apt-get > /dev/null || fail "this is not a Debian machine: apt-get is missing"
for file in "$binary" "$compose" "$environment" "$agent_environment"; do
    [ -z "$file" ] || [ -f "$file" ] || fail "$file: no such file"
done
if [ -n "$bundle" ]; then
    for file in agent.yml deployment.yml allowed_signers roles.yml tls/ca.crt tls/node.crt tls/node.key; do
        [ -f "$bundle/$file" ] \
            || fail "$bundle/$file is missing: give the whole folder that togather-ctl node add made"
    done
fi
for file in systemd/togather-agent.service sysctl/60-togather.conf caddy/Caddyfile caddy/caddy.service.d/togather.conf; do
    [ -f "$here/$file" ] || fail "$here/$file is missing: keep install.sh with the folders it came with"
done
systemd_runs=no
[ ! -d /run/systemd/system ] || systemd_runs=yes

# Puts a file in place in one move, so no reader ever sees half of it. Says so only if it changed.
# place SOURCE TARGET MODE OWNER:GROUP
changed=no
place() {
    changed=no
    if ! cmp -s "$1" "$2"; then
        changed=yes
        say "writing $2"
    fi
    cp "$1" "$2.new"
    chown "$4" "$2.new"
    chmod "$3" "$2.new"
    mv "$2.new" "$2"
}

# --- packages -----------------------------------------------------------------------------------
missing=''
command -v dockerd > /dev/null || missing="$missing docker.io iptables"
command -v caddy > /dev/null || missing="$missing caddy"
if [ -n "$missing" ]; then
    say "installing$missing"
    apt-get update
    # shellcheck disable=SC2086 # a list of words on purpose
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
fi
for group in docker caddy; do
    getent group "$group" > /dev/null || fail "the group $group is missing although its package is there"
done

# --- user and folders ---------------------------------------------------------------------------
if ! getent passwd togather > /dev/null; then
    say "making the user togather"
    useradd --system --user-group --home-dir /var/lib/togather --no-create-home \
        --shell /usr/sbin/nologin togather
fi
install -d -o root -g togather -m 0750 /etc/togather /etc/togather/tls /etc/togather/providers
install -d -o togather -g caddy -m 0755 /etc/caddy/togather

# --- the kernel ---------------------------------------------------------------------------------
migrate=/proc/sys/net/ipv4/tcp_migrate_req
place "$here/sysctl/60-togather.conf" /etc/sysctl.d/60-togather.conf 0644 root:root
if [ ! -e $migrate ]; then
    say "this kernel is older than 5.14: a few new connections may be reset when traffic is switched"
elif [ -w $migrate ]; then
    echo 1 > $migrate
fi

# --- Caddy --------------------------------------------------------------------------------------
restart_caddy=no
install -d -m 0755 /etc/systemd/system/caddy.service.d
place "$here/caddy/caddy.service.d/togather.conf" /etc/systemd/system/caddy.service.d/togather.conf 0644 root:root
[ $changed = no ] || restart_caddy=yes
if [ ! -e /etc/caddy/Caddyfile ] || [ $replace_caddyfile = yes ]; then
    place "$here/caddy/Caddyfile" /etc/caddy/Caddyfile 0644 root:root
    [ $changed = no ] || restart_caddy=yes
fi
caddyfile_lacks=''
grep -q '^[[:space:]]*admin[[:space:]]\{1,\}unix//run/caddy/admin.sock' /etc/caddy/Caddyfile \
    || caddyfile_lacks="  in the global block at the top:   admin unix//run/caddy/admin.sock
"
grep -q '^[[:space:]]*import[[:space:]]\{1,\}/etc/caddy/togather/\*\.caddy' /etc/caddy/Caddyfile \
    || caddyfile_lacks="$caddyfile_lacks  in your site's block:             import /etc/caddy/togather/*.caddy
"

# --- the agent ----------------------------------------------------------------------------------
restart_agent=no
place "$here/systemd/togather-agent.service" /etc/systemd/system/togather-agent.service 0644 root:root
[ $changed = no ] || restart_agent=yes
if [ -n "$binary" ]; then
    place "$binary" /usr/bin/togather-agent 0755 root:root
    [ $changed = no ] || restart_agent=yes
fi
if [ -n "$bundle" ]; then
    for file in agent.yml deployment.yml allowed_signers roles.yml tls/ca.crt tls/node.crt; do
        place "$bundle/$file" "/etc/togather/$file" 0640 root:togather
        [ $changed = no ] || restart_agent=yes
    done
    for overlay in "$bundle"/providers/*.yml; do
        [ -f "$overlay" ] || continue
        place "$overlay" "/etc/togather/providers/${overlay##*/}" 0640 root:togather
        [ $changed = no ] || restart_agent=yes
    done
    # systemd hands the service a copy of the key (LoadCredential); nobody but root reads this one.
    place "$bundle/tls/node.key" /etc/togather/tls/node.key 0600 root:root
    [ $changed = no ] || restart_agent=yes
fi
if [ -n "$compose" ]; then
    place "$compose" /etc/togather/docker-compose.yml 0640 root:togather
    [ $changed = no ] || restart_agent=yes
fi
# What the node is for, as agent.yml says it.
node_is_for=$(sed -n 's/^environment:[[:space:]]*"\{0,1\}\([a-z]\{1,\}\).*/\1/p' /etc/togather/agent.yml 2> /dev/null || true)
variables=/etc/togather/.env.${node_is_for:-production}
if [ -n "$environment" ]; then
    place "$environment" "$variables" 0600 togather:togather
    [ $changed = no ] || restart_agent=yes
fi
if [ -n "$agent_environment" ]; then
    place "$agent_environment" /etc/togather/agent.env 0600 root:root
    [ $changed = no ] || restart_agent=yes
fi

# --- what still lacks, and start ----------------------------------------------------------------
lacks=''
for file in /usr/bin/togather-agent /etc/togather/agent.yml /etc/togather/docker-compose.yml "$variables"; do
    [ -e "$file" ] || lacks="$lacks $file"
done

if [ $systemd_runs = yes ]; then
    systemctl daemon-reload
    systemctl enable --quiet docker caddy
    systemctl start docker
    if [ -z "$caddyfile_lacks" ]; then
        [ $restart_caddy = no ] || systemctl restart caddy
        systemctl start caddy
    fi
else
    say "systemd does not run here: services are set up, and start with the machine"
    systemctl enable --quiet docker caddy
fi

if [ -n "$caddyfile_lacks" ]; then
    say "your /etc/caddy/Caddyfile is left as it is; please add to it"
    printf '%s' "$caddyfile_lacks"
    say "then run: systemctl restart caddy"
    say "see $here/caddy/Caddyfile for an example"
fi
if [ -n "$lacks" ]; then
    say "the agent is not started yet; missing:$lacks"
    exit 0
fi
if [ $systemd_runs = no ]; then
    systemctl enable --quiet togather-agent
    exit 0
fi
systemctl enable --quiet togather-agent
[ $restart_agent = no ] || systemctl stop togather-agent
systemctl start togather-agent \
    || fail "the agent did not start: journalctl --unit togather-agent --lines 50 tells why"
say "the agent runs"
