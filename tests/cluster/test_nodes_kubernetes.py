"""On Kubernetes the kinds of nodes are those of the RayCluster, as its API server tells Ray's own client."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from cluster.nodekinds import NodeKind
from tests.raycluster import ROOT

pytestmark = pytest.mark.slow

DAY = timedelta(days=1)
PATH = "/apis/ray.io/v1/namespaces/agents/rayclusters/rubato-1"
ASK = "from cluster import nodes; print('found', nodes._from_kubernetes())"


def group(name: str, cpus: str, market: str, least: int, most: int, **limits: str) -> dict[str, Any]:
    container = {"name": "ray", "resources": {"limits": {"cpu": cpus, "memory": "4Gi", **limits}}}
    return {
        "groupName": name,
        "minReplicas": least,
        "maxReplicas": most,
        "labels": {"ray.io/market-type": market},
        "rayStartParams": {},
        "template": {"spec": {"containers": [container]}},
    }


def resource(*, autoscaled: bool = True) -> dict[str, Any]:
    head = {"name": "ray", "resources": {"limits": {"cpu": "1", "memory": "2Gi"}}}
    return {
        "metadata": {"name": "rubato-1", "namespace": "agents"},
        "spec": {
            "enableInTreeAutoscaling": autoscaled,
            "headGroupSpec": {
                "rayStartParams": {"num-cpus": "0"},
                "template": {"spec": {"containers": [head]}},
            },
            "workerGroupSpecs": [
                group("cpu", "2", "on-demand", 1, 4),
                group("gpu-spot", "4", "spot", 0, 2, **{"nvidia.com/gpu": "1"}),
            ],
        },
    }


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A key, and a certificate of this machine that it signs itself."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "api")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + DAY)
    made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    files = folder / "key.pem", folder / "cert.pem"
    files[0].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    files[1].write_bytes(made.sign(key, SHA256()).public_bytes(Encoding.PEM))
    return files


@contextmanager
def api_server(folder: Path, answers: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """One over HTTPS for whoever shows its certificate; and the environment of a pod that may ask it."""
    key, certificate = self_signed(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers.get(self.path)
            self.send_response(403 if found is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    tls.load_verify_locations(certificate)
    tls.verify_mode = ssl.CERT_REQUIRED
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield {
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT_HTTPS": str(server.server_port),
            "RAY_KUBERAY_CLIENT_CERT_PATH": str(certificate),
            "RAY_KUBERAY_CLIENT_KEY_PATH": str(key),
            "RAY_KUBERAY_CA_CERT_PATH": str(certificate),
            "RAY_CLUSTER_NAME": "rubato-1",
            "RAY_CLUSTER_NAMESPACE": "agents",
        }
    finally:
        server.shutdown()
        server.server_close()
        serving.join()


def asked(env: Mapping[str, str]) -> str:
    """What a process that has this environment finds."""
    plain = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    command = [sys.executable, "-P", "-c", ASK]
    done = subprocess.run(
        command, env={**plain, **env, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60
    )
    return done.stdout + done.stderr


def test_the_kinds_and_bounds_are_those_of_the_raycluster(tmp_path: Path) -> None:
    with api_server(tmp_path, {PATH: resource()}) as env:
        found = asked(env)

    cpu = NodeKind("cpu", {"CPU": 2.0, "memory": 4.0 * 2**30}, {"ray.io/market-type": "on-demand"}, None, 1, 4)
    gpu = NodeKind(
        "gpu-spot", {"CPU": 4.0, "GPU": 1.0, "memory": 4.0 * 2**30}, {"ray.io/market-type": "spot"}, None, 0, 2
    )
    assert f"found {(cpu, gpu)}" in found


def test_without_an_autoscaler_there_are_none(tmp_path: Path) -> None:
    with api_server(tmp_path, {PATH: resource(autoscaled=False)}) as env:
        found = asked(env)

    assert "found None" in found


def test_a_pod_that_may_not_read_it_is_told(tmp_path: Path) -> None:
    with api_server(tmp_path, {}) as env:
        found = asked(env)

    assert "403" in found


def test_elsewhere_nobody_is_asked() -> None:
    assert "found None" in asked({"RAY_CLUSTER_NAME": "", "KUBERNETES_SERVICE_HOST": "127.0.0.1"})
