#!/bin/sh
# Starts HAProxy ($HAPROXY) with the configuration that Serve wrote, but for three things. Its statistics and metrics
# listen on loopback, not on every interface. The list of applications at /-/routes is told to nobody, who may have no key.
# And request bodies are not spliced: with a spliced one HAProxy does not notice that the caller left, and the run would go
# on to its deadline.
set -eu
previous=
for argument; do
    if [ "$previous" = -f ]; then
        sed -i -e 's/^\( *bind \):/\1127.0.0.1:/' -e 's/^\( *bind \)\*:/\1127.0.0.1:/' \
            -e 's|^\( *http-request return status\) .* if routes$|\1 404 if routes|' \
            -e '/^ *option splice-request$/d' "$argument"
    fi
    previous=$argument
done
exec "$HAPROXY" "$@"
