# Restores a dump of the database in this container as bare pg_restore does, with two jobs into a
# database of its own, and prints the milliseconds of that alone.
set -eu
database=$1

drop() {
    docker exec "$database" bash -c 'rm -f /tmp/togather-floor.dump
        dropdb --if-exists --force --username "$POSTGRES_USER" togather_floor' 2> /dev/null
}
drop
trap drop EXIT
docker exec "$database" bash -c 'set -e
    pg_dump -Fc --compress=zstd:3 --username "$POSTGRES_USER" --file /tmp/togather-floor.dump "$POSTGRES_DB"
    createdb --template template0 --username "$POSTGRES_USER" togather_floor'

begun=$(date +%s%N)
docker exec "$database" bash -c \
    'pg_restore -j2 --exit-on-error --username "$POSTGRES_USER" --dbname togather_floor /tmp/togather-floor.dump'
ended=$(date +%s%N)
echo "$(((ended - begun) / 1000000)).$(((ended - begun) / 1000 % 1000 / 100))"
