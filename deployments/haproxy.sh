#!/bin/sh
# Starts HAProxy with its statistics and metrics on the loopback interface only. Serve writes the configuration before
# each start and leaves these two open to every interface. $HAPROXY is the real program.
set -eu
previous=
for argument; do
    if [ "$previous" = -f ]; then
        sed -i -e 's/^\( *bind \):/\1127.0.0.1:/' -e 's/^\( *bind \)\*:/\1127.0.0.1:/' "$argument"
    fi
    previous=$argument
done
exec "$HAPROXY" "$@"
