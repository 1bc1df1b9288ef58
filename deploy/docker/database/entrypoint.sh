#!/bin/sh
# Makes the database when the volume is empty, then becomes PostgreSQL.
#
# A cluster is made in a folder beside its final place and moved there as the last act, so a power
# cut while it is made leaves nothing that looks like a database: the next start begins again.
set -eu

user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}

fail() {
    printf 'togather-database: %s\n' "$*" >&2
    exit 1
}

# The volume belongs to root when it is new. Started as another user (`user:` in Compose), the volume
# must already be theirs.
if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA"
    find "$PGDATA" ! -user postgres -exec chown postgres:postgres {} +
    chmod 0700 "$PGDATA"
    exec setpriv --reuid postgres --regid postgres --init-groups --inh-caps=-all sh "$0" "$@"
fi

# Anything but PostgreSQL (psql, pg_dump, a shell) runs as it is.
[ "${1:-postgres}" = postgres ] || exec "$@"

make_cluster() {
    [ -n "${POSTGRES_PASSWORD:-}" ] \
        || fail "POSTGRES_PASSWORD is not set, and the database is still to be made: set it in .env.production"

    # The folder comes first: finding it later is how a half-made database is noticed.
    fresh=$PGDATA/.initialising
    mkdir "$fresh"
    # The built-in C.UTF-8 sorts the same under every C library, so moving to a newer image never
    # leaves text indexes out of order.
    printf '%s\n' "$POSTGRES_PASSWORD" \
        | initdb --pgdata "$fresh" --username "$user" --pwfile /dev/stdin \
            --auth-local trust --auth-host scram-sha-256 --encoding UTF8 --data-checksums \
            --locale C.UTF-8 --locale-provider builtin --builtin-locale C.UTF-8 --no-instructions
    printf 'host all all all scram-sha-256\n' >> "$fresh/pg_hba.conf"
    if [ "$database" != postgres ]; then
        # Single-user mode reads one statement a line; an identifier's quotes are doubled.
        quoted=$(printf '%s' "$database" | sed 's/"/""/g')
        printf 'CREATE DATABASE "%s"\n' "$quoted" \
            | postgres --single -D "$fresh" -c exit_on_error=on postgres > /dev/null
    fi
    sync -f "$fresh"

    # PG_VERSION comes last: it is what tells a made cluster from a half-moved one.
    for part in "$fresh"/*; do
        [ "$part" = "$fresh/PG_VERSION" ] || mv "$part" "$PGDATA/"
    done
    sync -f "$PGDATA"
    mv "$fresh/PG_VERSION" "$PGDATA/"
    rm -rf "$fresh"
    sync -f "$PGDATA"
}

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    if [ -d "$PGDATA/.initialising" ]; then
        echo 'togather-database: the database was only half made when it stopped; making it again' >&2
        find "$PGDATA" -mindepth 1 -delete
    elif [ -n "$(find "$PGDATA" -mindepth 1 ! -name lost+found -print -quit)" ]; then
        fail "$PGDATA holds files but no database; move them away, or mount the right volume"
    fi
    make_cluster
fi

exec "$@" -c listen_addresses='*'
