#!/bin/sh
# Starts HAProxy ($HAPROXY) with the configuration that Serve wrote, but for five things. Its statistics and metrics
# listen on loopback, not on every interface. The list of applications at /-/routes is told to nobody, who may have no key.
# Nothing is spliced: with a spliced body of a request HAProxy does not notice that the caller left, and the run would go on
# to its deadline; and of answers that are small a spliced one takes twice the calls. No line is written for each request
# to a log that nobody reads. And the connection of a stream of events ends with it: while it went on, another HAProxy may
# have taken over with other replicas, and the next request would still be sent to those that there were.
set -eu
streams_close='http-after-response set-header connection close if { res.hdr(content-type) -m beg text/event-stream }'
previous=
for argument; do
    if [ "$previous" = -f ]; then
        sed -i -e 's/^\( *bind \):/\1127.0.0.1:/' -e 's/^\( *bind \)\*:/\1127.0.0.1:/' \
            -e 's|^\( *http-request return status\) .* if routes$|\1 404 if routes|' \
            -e '/^ *option splice-re[a-z]*$/d' -e '/^ *log [^ ]*\/no-log /d' \
            -e '/^ *http-after-response set-header connection close /d' \
            -e "/^frontend http_frontend\$/a\\    $streams_close" "$argument"
    fi
    previous=$argument
done
exec "$HAPROXY" "$@"
