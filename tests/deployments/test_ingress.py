"""That what we tell Serve keeps clusters apart, and HAProxy's own pages on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from deployments.ingress import FOLDER_LIMIT, WRAPPER, Ports, free_ports, haproxy, is_free, serve_env

WRITTEN = """global
    log /folder/one/no-log local0 info
defaults
    option abortonclose
    option splice-request
    option splice-response
    log global
frontend prometheus
    bind :9101
    mode http
frontend http_frontend
    bind 127.0.0.1:8000
frontend everywhere
    bind 0.0.0.0:8001
backend one
    server a 127.0.0.1:30000 check
listen stats
  bind *:8404
  stats enable
"""


STREAMS_CLOSE = "http-after-response set-header connection close if { res.hdr(content-type) -m beg text/event-stream }"


def test_haproxy_is_started_with_what_serve_wrote_but_for_five_things(tmp_path: Path) -> None:
    config = tmp_path / "haproxy.cfg"
    config.write_text(WRITTEN)
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    arguments = ["-db", "-f", str(config), "-dR", "-sf", "12", "-x", "a b"]

    for _ in range(2):
        said = subprocess.run(
            [WRAPPER, *arguments], env={**os.environ, "HAPROXY": str(program)}, capture_output=True, check=True
        )

        assert said.stdout.decode().strip() == " ".join(arguments)
        expected = WRITTEN.replace("bind :9101", "bind 127.0.0.1:9101").replace("bind *:8404", "bind 127.0.0.1:8404")
        dropped = ("option splice-request", "option splice-response", "log /folder/one/no-log local0 info")
        for line in dropped:
            expected = expected.replace(f"    {line}\n", "")
        expected = expected.replace("frontend http_frontend\n", f"frontend http_frontend\n    {STREAMS_CLOSE}\n")
        assert config.read_text() == expected


def test_two_clusters_share_no_path_and_no_port() -> None:
    ports = free_ports(6)
    one = serve_env(Path("/folder/one"), Ports(*ports[:3]), "/bin/haproxy")
    other = serve_env(Path("/folder/other"), Ports(*ports[3:]), "/bin/haproxy")

    assert len(set(ports)) == 6
    same = {name for name in one if one[name] == other[name]}
    assert not {name for name in same if "PORT" in name and "QUARANTINE" not in name}
    assert not [one[name] for name in same if one[name].startswith("/folder")]
    assert sum(value.startswith("/folder/one") for value in one.values()) == 6


def test_a_folder_in_which_sockets_cannot_lie_is_refused() -> None:
    ports = Ports(1, 2, 3)
    serve_env(Path("/" + "x" * (FOLDER_LIMIT - 1)), ports, "/bin/haproxy")

    with pytest.raises(ValueError, match="too long"):
        serve_env(Path("/" + "x" * FOLDER_LIMIT), ports, "/bin/haproxy")


def test_without_haproxy_serve_keeps_its_own_proxy() -> None:
    env = serve_env(Path("/tmp/one"), Ports(1, 2, 3), None)

    assert not [name for name in env if "HAPROXY" in name or "HA_PROXY" in name or "THROUGHPUT" in name]


def test_the_haproxy_that_ray_brings_is_found_on_linux() -> None:
    program = haproxy()

    assert (program is not None) == os.path.exists("/proc")
    assert program is None or os.access(program, os.X_OK)


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    for host in ("127.0.0.1", "0.0.0.0"):
        with socket.create_server((host, 0)) as server:
            port = server.getsockname()[1]

            assert not is_free(port)
            assert not is_free(port, "127.0.0.1")
        assert is_free(port)
