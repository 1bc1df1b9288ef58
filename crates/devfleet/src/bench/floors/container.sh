# Runs another container with the image, environment and network of the one that is named, and prints
# the milliseconds from `docker run` to its first 200.
set -eu
like=$1
name=togather-floor

image=$(docker inspect --format '{{.Config.Image}}' "$like")
network=$(docker inspect --format '{{range $name, $_ := .NetworkSettings.Networks}}{{println $name}}{{end}}' "$like" | head -n 1)
environment=$(mktemp)
trap 'docker rm --force "$name" > /dev/null 2>&1 || true; rm -f "$environment"' EXIT
docker inspect --format '{{range .Config.Env}}{{println .}}{{end}}' "$like" | grep . > "$environment"

begun=$(date +%s%N)
docker run --detach --name "$name" --network "$network" --env-file "$environment" \
    --publish 127.0.0.1:18080:8080 "$image" > /dev/null
tries=0
until curl --silent --fail --output /dev/null --max-time 1 http://127.0.0.1:18080/health; do
    tries=$((tries + 1))
    [ "$tries" -lt 2000 ] || { echo "the container never answered 200" >&2; exit 1; }
    sleep 0.005
done
ended=$(date +%s%N)
echo "$(((ended - begun) / 1000000)).$(((ended - begun) / 1000 % 1000 / 100))"
