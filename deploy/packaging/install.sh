#!/bin/sh
# Makes a Debian machine a Togather node, or repairs one: run it as often as you like.
#
# It never overwrites what is yours. Of what it writes it keeps the checksums; a file that was edited
# since, or that it did not write, stays, the new one is put beside it as FILE.new, and the
# difference is shown.
set -eu

usage() {
    cat << 'TEXT'
usage: install.sh [--binary PATH] [--bundle DIR] [--compose FILE] [--env FILE]
                  [--agent-env FILE] [--replace-caddyfile] [--overwrite]

Makes this Debian machine a Togather node. Without options: Docker Engine, Caddy, the user
togather, its folders and the systemd service.

  --binary PATH         the togather-agent program, copied to /usr/bin
  --bundle DIR          the folder that `togather-ctl node add` made for this node
  --compose FILE        what runs on this node, copied to /etc/togather/docker-compose.yml
  --env FILE            the app's environment and secrets, copied to /etc/togather/.env.production (or
                        .env.staging, .env.development: as `environment` in agent.yml says)
  --agent-env FILE      the agent's own environment: credentials of the snapshot store, copied to
                        /etc/togather/agent.env, which only root can read
  --replace-caddyfile   put Togather's Caddyfile in place of one that is not Togather's; that one is
                        kept as Caddyfile.old
  --overwrite           also replace what was edited on this machine; it is kept as FILE.old

What is kept is never overwritten: the next one is FILE.old.1, then FILE.old.2.
TEXT
}

say() { printf 'install: %s\n' "$*"; }
fail() {
    printf 'install: %s\n' "$*" >&2
    exit 1
}

here=$(cd "$(dirname "$0")/.." && pwd)
binary='' bundle='' compose='' environment='' agent_environment='' replace_caddyfile=no overwrite=no
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
        --overwrite) overwrite=yes && shift ;;
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

# The checksums of the files as they were written here, in the format of sha256sum.
record=/etc/togather/.installed
checksum() { sha256sum < "$1" | cut -d ' ' -f 1; }

# Whether a file of this name was written here. A checksum has 64 characters, then come two blanks.
was_written_here() {
    [ -f $record ] && awk -v path="$1" 'substr($0, 67) == path { found = 1 } END { exit !found }' $record
}

# Whether the file is as it was written here, or as it was put beside one that was kept.
is_ours() {
    [ -f $record ] || return 1
    grep -Fqx -e "$(checksum "$1")  $1" -e "$(checksum "$1")  $1.new" $record
}

remember() {
    touch $record
    awk -v path="$1" 'substr($0, 67) != path' $record > $record.tmp
    printf '%s  %s\n' "$(checksum "$1")" "$1" >> $record.tmp
    chmod 0600 $record.tmp
    mv $record.tmp $record
}

# Puts a file in place in one move, so no reader ever sees half of it. Where a link is, the file that it
# leads to is replaced, and the link stays.
# put SOURCE TARGET MODE OWNER:GROUP
put() {
    target=$2
    if [ -L "$target" ]; then
        target=$(readlink -f "$target") || fail "$2 is a link that leads nowhere: remove it, or make what it leads to"
    fi
    temporary=$(mktemp "$target.XXXXXX")
    cat "$1" > "$temporary"
    chown "$4" "$temporary"
    chmod "$3" "$temporary"
    mv "$temporary" "$target"
}

# Copies a file beside itself, under a name that is not taken, and says so.
keep_old() {
    old=$1.old number=0
    while [ -e "$old" ] || [ -L "$old" ]; do
        number=$((number + 1))
        old=$1.old.$number
    done
    cp -p "$1" "$old"
    say "the old $1 is kept as $old"
}

# The difference to the new one; of a file with secrets only the keys.
show_difference() {
    case $1 in
        *.env.* | *.env) keys_that_differ "$1" "$2" | sed 's/^/    differs: /' ;;
        *) diff -u "$1" "$2" | sed 's/^/    /' || : ;;
    esac
}

keys_that_differ() {
    # A line of a secret that goes over several lines may look like a key. It is none unless it is spelled like
    # the name of a variable; the last line of a base64 text can be, but nothing follows its `=`.
    { diff "$1" "$2" || :; } | sed -n '/^[<>] *[A-Za-z0-9+\/]\{1,\}=\{1,2\}["'"'"']\{0,1\}$/d
        s/^[<>] *\(export \)\{0,1\}\([A-Z_][A-Z0-9_]*\)[=:].*/\2/p' | sort -u
}

# Puts a file in place that may be edited there: one that was is kept. Says so only if it changed.
# place SOURCE TARGET MODE OWNER:GROUP
changed=no kept=''
place() {
    changed=no
    if [ -e "$2" ] && ! cmp -s "$1" "$2" && ! is_ours "$2"; then
        if [ $overwrite = no ]; then
            put "$1" "$2.new" "$3" "$4"
            remember "$2.new"
            say "keeping $2: it was edited here; the new one is $2.new"
            show_difference "$2" "$2.new"
            kept="$kept $2"
            return 0
        fi
        keep_old "$2"
    fi
    if ! cmp -s "$1" "$2"; then
        changed=yes
        say "writing $2"
    fi
    put "$1" "$2" "$3" "$4"
    rm -f "$2.new"
    remember "$2"
}

# Puts a file in place that nobody edits: a program, a certificate, a key.
replace() {
    changed=no
    cmp -s "$1" "$2" || { changed=yes && say "writing $2"; }
    put "$1" "$2" "$3" "$4"
}

# --- packages -----------------------------------------------------------------------------------
missing=''
command -v dockerd > /dev/null || missing="$missing docker.io iptables"
command -v caddy > /dev/null || missing="$missing caddy"
if [ -n "$missing" ] || ! command -v docker > /dev/null; then
    apt-get update
    # From Debian 13 on the docker command is a package of its own, which docker.io only recommends.
    if ! command -v docker > /dev/null && apt-cache show docker-cli > /dev/null 2>&1; then
        missing="$missing docker-cli"
    fi
fi
if [ -n "$missing" ]; then
    say "installing$missing"
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
caddyfile=/etc/caddy/Caddyfile
socket=unix//run/caddy/admin.sock

# From 2.7 on Caddy makes its admin socket for itself alone unless it is told a mode, which older
# releases take for a part of the socket's name. "v2.11.9 h1:...", Debian's "2.6.2", or "unknown".
caddy_version=$(caddy version 2> /dev/null | head -n 1 | cut -d ' ' -f 1)
major=${caddy_version#v}
minor=${major#*.}
major=${major%%.*}
minor=${minor%%[!0-9]*}
case $major/$minor in
    [0-1]/* | 2/[0-6]) admin=$socket ;;
    [2-9]/[0-9]*) admin="$socket|0660" ;;
    *)
        admin="$socket|0660"
        say "this Caddy's version is not known (\"$caddy_version\"); it is taken for 2.7 or newer"
        ;;
esac

install -d -m 0755 /etc/systemd/system/caddy.service.d
place "$here/caddy/caddy.service.d/togather.conf" /etc/systemd/system/caddy.service.d/togather.conf 0644 root:root
[ $changed = no ] || restart_caddy=yes
wanted_caddyfile=$(mktemp)
trap 'rm -f "$wanted_caddyfile"' EXIT
sed "s,^\([[:space:]]*admin\) unix.*,\1 \"$admin\"," "$here/caddy/Caddyfile" > "$wanted_caddyfile"
if [ $replace_caddyfile = yes ] && [ -e $caddyfile ] && ! was_written_here $caddyfile \
    && ! cmp -s "$wanted_caddyfile" $caddyfile; then
    keep_old $caddyfile
    # Where it is a link, the file that it leads to is replaced.
    rm "$(readlink -f $caddyfile)"
fi
if [ ! -e $caddyfile ] || [ $replace_caddyfile = yes ] || was_written_here $caddyfile; then
    place "$wanted_caddyfile" $caddyfile 0644 root:root
    [ $changed = no ] || restart_caddy=yes
fi

# --- the agent ----------------------------------------------------------------------------------
restart_agent=no
place "$here/systemd/togather-agent.service" /etc/systemd/system/togather-agent.service 0644 root:root
[ $changed = no ] || restart_agent=yes
if [ -n "$binary" ]; then
    replace "$binary" /usr/bin/togather-agent 0755 root:root
    [ $changed = no ] || restart_agent=yes
fi
if [ -n "$bundle" ]; then
    for file in agent.yml deployment.yml allowed_signers roles.yml; do
        place "$bundle/$file" "/etc/togather/$file" 0640 root:togather
        [ $changed = no ] || restart_agent=yes
    done
    for file in tls/ca.crt tls/node.crt; do
        replace "$bundle/$file" "/etc/togather/$file" 0640 root:togather
        [ $changed = no ] || restart_agent=yes
    done
    for overlay in "$bundle"/providers/*.yml; do
        [ -f "$overlay" ] || continue
        place "$overlay" "/etc/togather/providers/${overlay##*/}" 0640 root:togather
        [ $changed = no ] || restart_agent=yes
    done
    # systemd hands the service a copy of the key (LoadCredential); nobody but root reads this one.
    replace "$bundle/tls/node.key" /etc/togather/tls/node.key 0600 root:root
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

# The value of a key under `proxy` in deployment.yml, if it is written there.
proxy() {
    [ -f /etc/togather/deployment.yml ] || return 0
    sed -n "/^proxy:/,/^[^ #]/s/^[[:space:]]\\{1,\\}$1:[[:space:]]*\\([^[:space:]#]*\\).*/\\1/p" /etc/togather/deployment.yml | tr -d "\"'"
}
caddyfile_lacks=''
has_admin=$(awk '$1 == "admin" { gsub(/["\140]/, "", $2); print $2; exit }' $caddyfile)
agents_admin=$(proxy admin)
case $has_admin in
    "$admin") ;;
    '' | *:[0-9]*)
        if [ "${agents_admin:-$socket}" = "${has_admin:-localhost:2019}" ]; then
            say "every user of this machine can change what Caddy serves through ${has_admin:-localhost:2019}"
        else
            caddyfile_lacks="  in the global block at the top:   admin \"$admin\"
    (or, if every user of this machine may command Caddy, in /etc/togather/deployment.yml
    under proxy:                      admin: ${has_admin:-localhost:2019})
"
        fi
        ;;
    *)
        caddyfile_lacks="  in the global block at the top, for Caddy $caddy_version:   admin \"$admin\"
"
        ;;
esac
grep -q '^[[:space:]]*import[[:space:]]\{1,\}/etc/caddy/togather/\*\.caddy' $caddyfile \
    || caddyfile_lacks="$caddyfile_lacks  in your site's block:             import /etc/caddy/togather/*.caddy
"

# The first site that has a name, which Caddy serves over https by itself.
domain=$(sed -n 's|^\(https://\)\{0,1\}\([a-z0-9-]\{1,\}\(\.[a-z0-9-]\{1,\}\)*\.[a-z]\{2,\}\)[ ,{].*|\2|p' $caddyfile | head -n 1)
case $(proxy public_url) in
    https://*) ;;
    *)
        if [ -n "$domain" ]; then
            say "for https, say in /etc/togather/deployment.yml under proxy: public_url: https://$domain"
        else
            say "this node serves plain http. For https, put your domain in place of \`:80\` in $caddyfile, and"
            say "say in /etc/togather/deployment.yml under proxy: public_url: https://YOUR.DOMAIN"
        fi
        ;;
esac

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
    say "your $caddyfile is left as it is; please see to it that it says"
    printf '%s' "$caddyfile_lacks"
    say "then run: systemctl restart caddy"
    say "see $here/caddy/Caddyfile for an example"
fi
if [ -n "$kept" ]; then
    say "kept, because edited here:$kept; to take a new one: mv FILE.new FILE"
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
