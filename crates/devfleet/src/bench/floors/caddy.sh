# Has Caddy load its Caddyfile as often as is said, and prints the milliseconds of each time.
set -eu
for _ in $(seq "$1"); do
    # An empty Host, or Caddy refuses what comes over its socket; and without the second header it
    # does nothing where nothing has changed.
    curl --silent --show-error --fail --unix-socket /run/caddy/admin.sock \
        --header 'Host;' --header 'Cache-Control: must-revalidate' \
        --header 'Content-Type: text/caddyfile' --data-binary @/etc/caddy/Caddyfile \
        --write-out '%{time_total}\n' --output /dev/null http://localhost/load
done | awk '{ printf "%.3f\n", $1 * 1000 }'
