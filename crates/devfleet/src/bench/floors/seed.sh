# Makes the database in the first container hold as many made-up events as is said, by the app in the
# second: no more, no fewer, all of it written to disk.
set -eu
database=$1 app=$2 events=$3

in_database() {
    docker exec "$database" sh -c \
        'exec psql --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" "$@"' psql "$@"
}
there=$(in_database --tuples-only --no-align \
    --command "SELECT count(*) FROM events WHERE source = 'seed'")
if [ "$there" -gt "$events" ]; then
    # The app only ever adds; what was deleted must not stay in the table as dead rows either.
    in_database --command "DELETE FROM events WHERE source = 'seed'" --command 'VACUUM FULL events'
fi
docker exec "$app" sample-server seed --events "$events" > /dev/null
in_database --command 'VACUUM ANALYZE events' --command CHECKPOINT
