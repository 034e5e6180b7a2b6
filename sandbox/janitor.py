"""Removes a dead process's containers; a program of its own, run as a file, imported by nobody.

`janitor.py ENGINE LABEL [FOLDER]` waits on its standard input, a pipe whose other end only the host
process holds. A byte means that all is clean. The end of the pipe without one means that the
host died, however that happened; then every container with that label goes, and again until
none has turned up for a while, because the engine may still be making one. The folder, where the
host kept its channels, goes too.

It idles for as long as a session lasts, so it loads nothing before it has something to do, and
speaks to the engine without the SDK, whose import alone would take longer than the work.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from http.client import HTTPConnection

QUIET_SECONDS = 2.5
GIVE_UP_SECONDS = 60.0
PAUSE_SECONDS = 0.1
CALL_SECONDS = 20.0


def connect(url: str) -> HTTPConnection:
    """A connection to the engine at `unix:///path` or `tcp://host:port`."""
    import socket  # noqa: PLC0415  nothing is loaded before it is needed
    from http.client import HTTPConnection  # noqa: PLC0415  as above

    scheme, _, place = url.partition("://")
    if scheme != "unix":
        return HTTPConnection(place.rstrip("/"), timeout=CALL_SECONDS)
    connection = HTTPConnection("engine", timeout=CALL_SECONDS)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.settimeout(CALL_SECONDS)
    connection.sock.connect(place)
    return connection


def ask(url: str, method: str, path: str) -> bytes:
    """One request to the engine."""
    connection = connect(url)
    try:
        connection.request(method, path, headers={"Host": "engine"})
        return connection.getresponse().read()
    finally:
        connection.close()


def labelled(url: str, label: str) -> list[str]:
    """The ids of all containers with that label."""
    import json  # noqa: PLC0415  as above
    from urllib.parse import quote  # noqa: PLC0415  as above

    filters = quote(json.dumps({"label": [label]}))
    return [
        entry["Id"]
        for entry in json.loads(ask(url, "GET", f"/containers/json?all=1&filters={filters}"))
    ]


def remove_all(url: str, containers: list[str]) -> None:
    """Kill and remove them, all at once."""
    from threading import Thread  # noqa: PLC0415  as above

    def remove(container: str) -> None:
        try:
            ask(url, "DELETE", f"/containers/{container}?force=1&v=1")
        except OSError:
            return  # the next round finds it again

    threads = [Thread(target=remove, args=(container,)) for container in containers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def sweep(url: str, label: str) -> None:
    """Remove until nothing has turned up for a while, or the engine stays away."""
    begin = quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < QUIET_SECONDS:
        if time.monotonic() - begin > GIVE_UP_SECONDS:
            return
        try:
            containers = labelled(url, label)
        except (OSError, ValueError, TypeError):
            containers = []
        if containers:
            remove_all(url, containers)
            quiet_since = time.monotonic()
        else:
            time.sleep(PAUSE_SECONDS)


def remove_folder(folder: str) -> None:
    """Remove what the host kept there."""
    from shutil import rmtree  # noqa: PLC0415  as above

    rmtree(folder, ignore_errors=True)


def main() -> None:
    """Wait for the host's end, then clean up after it."""
    url, label, *folders = sys.argv[1:]
    if not os.read(0, 1):
        for folder in folders:
            remove_folder(folder)
        sweep(url, label)


if __name__ == "__main__":
    main()
