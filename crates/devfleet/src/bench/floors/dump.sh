# Dumps the database in this container as bare pg_dump does, to nowhere, and prints the milliseconds.
set -eu
begun=$(date +%s%N)
docker exec "$1" bash -c 'set -o pipefail
    pg_dump -Fc --compress=zstd:3 --username "$POSTGRES_USER" "$POSTGRES_DB" | cat > /dev/null'
ended=$(date +%s%N)
echo "$(((ended - begun) / 1000000)).$(((ended - begun) / 1000 % 1000 / 100))"
