#!/bin/sh
# Starts HAProxy ($HAPROXY) with the configuration that Serve wrote, but for four things. Its statistics and metrics
# listen on loopback, not on every interface. The list of applications at /-/routes is told to nobody, who may have no key.
# Nothing is spliced: with a spliced body of a request HAProxy does not notice that the caller left, and the run would go on
# to its deadline; and of answers that are small a spliced one takes twice the calls. And no line is written for each
# request to a log that nobody reads.
set -eu
previous=
for argument; do
    if [ "$previous" = -f ]; then
        sed -i -e 's/^\( *bind \):/\1127.0.0.1:/' -e 's/^\( *bind \)\*:/\1127.0.0.1:/' \
            -e 's|^\( *http-request return status\) .* if routes$|\1 404 if routes|' \
            -e '/^ *option splice-re[a-z]*$/d' -e '/^ *log [^ ]*\/no-log /d' "$argument"
    fi
    previous=$argument
done
exec "$HAPROXY" "$@"
