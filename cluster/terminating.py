"""SIGTERM, heard in a process whose main thread is not ours.

Python lets only the main thread set a handler, and Ray's there ends the process at once. The one handler that any
thread may set is the one that dumps a traceback: here it is written to a socket, where it is a sign, and nobody reads
it. It works whatever the main thread does.
"""

from __future__ import annotations

import asyncio
import faulthandler
import signal
import socket
from collections.abc import Callable
from contextlib import suppress


def on_sigterm(act: Callable[[], None]) -> None:
    """From now on SIGTERM has the running loop call `act`, and does nothing else. For the rest of the process."""
    heard, told = socket.socketpair()
    for end in (heard, told):
        end.setblocking(False)  # a full socket must not stop the process within its handler
    faulthandler.register(signal.SIGTERM, told, all_threads=False, chain=False)

    def hear() -> None:
        with suppress(BlockingIOError):
            while heard.recv(65536):
                pass
        act()

    asyncio.get_running_loop().add_reader(heard, hear)
