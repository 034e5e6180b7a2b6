"""The one adapter to the Docker engine: its blocking SDK made async, with a time-out on all.

Every call borrows a client that no other thread uses meanwhile, because the SDK's session is
not made to be shared. The SDK is imported in the first worker thread, never with this module.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import time
import urllib.parse
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar

from policies.value import JsonObject

if TYPE_CHECKING:
    from docker import APIClient

__all__ = [
    "ContainerState",
    "ContainerSummary",
    "Engine",
    "EngineError",
    "EngineTimeoutError",
    "ImageInUseError",
    "ImageSummary",
    "NoSuchObjectError",
    "default_docker_host",
]

_T = TypeVar("_T")

_CALL_SECONDS: Final = 60.0
_CONNECT_SECONDS: Final = 10
_CONTROL_SECONDS: Final = 10.0
_LOAD_SECONDS: Final = 300.0
_GRACE_SECONDS: Final = 2.0
_WORKERS: Final = 128
_GONE_POLL_SECONDS: Final = 0.05


class EngineError(Exception):
    """The engine refused, failed or did not answer."""


class EngineTimeoutError(EngineError):
    """The engine did not answer in time; the call may still have its effect."""


class NoSuchObjectError(EngineError):
    """The engine has no such container or image."""


class ImageInUseError(EngineError):
    """The engine keeps an image that something is made of."""


@dataclass(frozen=True)
class ContainerState:
    """What the engine says about one container."""

    running: bool
    exit_code: int
    oom_killed: bool
    error: str
    pid: int


@dataclass(frozen=True)
class ContainerSummary:
    """One line of a listing."""

    id: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class ImageSummary:
    """An image as the engine has it."""

    reference: str
    """What the engine calls it; to be used when a container is made of it."""

    layers: tuple[str, ...]


def default_docker_host() -> str:
    """Where the engine listens when nobody says otherwise."""
    return "unix:///var/run/docker.sock"


class Engine:
    """One Docker engine."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._threads = ThreadPoolExecutor(_WORKERS, thread_name_prefix="engine")
        self._idle: list[APIClient] = []
        self._api_version = "auto"
        self._kernel = ""
        self._late: set[asyncio.Future[None]] = set()
        self._closed = False

    @classmethod
    async def connect(cls, docker_host: str | None = None) -> Self:
        """An engine that has answered a ping.

        Raises:
            EngineError: There is none, or it cannot be reached in a way that this can use.
        """
        engine = cls(docker_host or default_docker_host())
        try:
            engine._check_url()
            await asyncio.to_thread(engine._knock)
            engine._kernel = str((await engine.version()).get("KernelVersion", ""))
        except BaseException:
            await engine.close()
            raise
        return engine

    @property
    def is_here(self) -> bool:
        """Whether its containers run on this host's own kernel, not in a machine behind it."""
        return self.socket_path is not None and self._kernel == os.uname().release

    @property
    def socket_path(self) -> Path | None:
        """The socket of an engine on this host; None for one behind an address."""
        parts = urllib.parse.urlsplit(self.url)
        return Path(parts.path) if parts.scheme == "unix" else None

    def _check_url(self) -> None:
        scheme = urllib.parse.urlsplit(self.url).scheme
        if scheme not in ("unix", "tcp", "http"):
            raise EngineError(
                f"{self.url!r} is no address that can be used: expected unix:///path/to/socket or "
                "tcp://host:port; forward an engine behind ssh or TLS to a local socket"
            )

    def _knock(self) -> None:
        """Whether anybody listens; asked without the SDK, which loses its socket when nobody does.

        Raises:
            EngineError: Nobody does, or not to this user.
        """
        path = self.socket_path
        if path is None:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            try:
                door.connect(str(path))
            except OSError as error:
                raise EngineError(_explain(error)) from error

    async def ping(self) -> None:
        """Ask the engine whether it is there.

        Raises:
            EngineError: It is not.
        """
        await self._call(lambda client: client.ping(), seconds=_CONTROL_SECONDS)

    async def version(self) -> JsonObject:
        """Versions of the engine and its parts."""
        return await self._call(lambda client: client.version(), seconds=_CONTROL_SECONDS)

    async def info(self) -> JsonObject:
        """What the engine says about itself and its host."""
        return await self._call(lambda client: client.info(), seconds=_CONTROL_SECONDS)

    async def create(self, config: JsonObject, *, name: str) -> str:
        """Make a container and give its id.

        Cancelling waits until the engine has answered and removes what it made.

        Raises:
            EngineError: It was not made.
        """
        making = asyncio.ensure_future(self._call(lambda client: _create(client, config, name)))
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            await self.finish(self._remove_when_made(making))
            raise

    async def _remove_when_made(self, making: asyncio.Future[str]) -> None:
        with contextlib.suppress(EngineError):  # not made, or the reaper's to find
            await self.remove(await making)

    async def finish(self, work: Coroutine[None, None, None]) -> None:
        """See `work` through although the caller is cancelled; `close` waits for what is left."""
        task = asyncio.ensure_future(work)
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        await asyncio.shield(task)

    async def start(self, container: str) -> None:
        """Start a container.

        Raises:
            EngineError: It did not start.
        """
        await self._call(lambda client: client.start(container))

    async def attach(self, container: str) -> socket.socket:
        """Connect to a container's streams, before it starts so that nothing is missed.

        Raises:
            EngineError: No connection.
        """
        connecting = asyncio.ensure_future(self._call(lambda client: _attach(client, container)))
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            await self.finish(_close_when_made(connecting))
            raise

    async def kill(self, container: str, *, seconds: float = _CONTROL_SECONDS) -> None:
        """End all of a container's processes at once; nothing where they have ended.

        Raises:
            EngineError: The engine failed or did not answer in time.
        """
        await self._call(lambda client: _kill(client, container), seconds=seconds)

    async def remove(self, container: str, *, seconds: float = _CALL_SECONDS) -> None:
        """Kill and remove a container; nothing where there is none.

        Raises:
            EngineError: The engine failed or did not answer in time.
        """
        await self._call(lambda client: _remove(client, container), seconds=seconds)

    async def inspect(self, container: str) -> ContainerState:
        """Where a container stands.

        Raises:
            NoSuchObjectError: There is none.
            EngineError: The engine failed or did not answer in time.
        """
        document = await self._call(
            lambda client: client.inspect_container(container), seconds=_CONTROL_SECONDS
        )
        state = document["State"]
        return ContainerState(
            running=state["Running"],
            exit_code=state["ExitCode"],
            oom_killed=state["OOMKilled"],
            error=state["Error"],
            pid=state["Pid"],
        )

    async def list_by_label(self, label: str) -> tuple[ContainerSummary, ...]:
        """All containers that carry `label` (`name` or `name=value`), the ended ones included.

        Raises:
            EngineError: The engine failed or did not answer in time.
        """
        entries = await self._call(
            lambda client: client.containers(all=True, filters={"label": label})
        )
        return tuple(
            ContainerSummary(id=entry["Id"], labels=entry["Labels"] or {}) for entry in entries
        )

    async def find_image(self, reference: str) -> ImageSummary | None:
        """The image of that digest or tag, if the engine has it.

        Raises:
            EngineError: The engine failed or did not answer in time.
        """
        try:
            return await self._call(lambda client: _image(client, reference))
        except NoSuchObjectError:
            return None

    async def load_image(self, archive: Path) -> None:
        """Hand the engine an archive in the format of `docker load`.

        Raises:
            EngineError: The engine did not take it.
        """
        await self._call(lambda client: _load(client, archive), seconds=_LOAD_SECONDS)

    async def save_image(self, reference: str, archive: Path) -> None:
        """Write an image to `archive`, in the format of `docker save`.

        Raises:
            NoSuchObjectError: There is no such image.
            EngineError: The engine failed or did not answer in time.
        """
        await self._call(lambda client: _save(client, reference, archive), seconds=_LOAD_SECONDS)

    async def remove_image(self, reference: str) -> None:
        """Remove an image, or this name of it; nothing where there is none.

        Raises:
            ImageInUseError: A container is made of it, or another image stands on it.
            EngineError: The engine failed.
        """
        await self._call(lambda client: _remove_image(client, reference))

    async def close(self) -> None:
        """Wait for what is under way to be cleaned up, and give back the connections."""
        while self._late:
            await asyncio.gather(*self._late, return_exceptions=True)
        self._closed = True
        idle, self._idle = self._idle, []
        for client in idle:
            client.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _call(self, work: Callable[[APIClient], _T], *, seconds: float = _CALL_SECONDS) -> _T:
        """Run blocking `work` in a thread, with a client of its own."""
        loop = asyncio.get_running_loop()
        blocking = functools.partial(self._work, work, seconds)
        try:
            # The SDK stops by itself; the outer limit is for the ways in which it does not.
            async with asyncio.timeout(seconds + _GRACE_SECONDS):
                return await loop.run_in_executor(self._threads, blocking)
        except TimeoutError:
            raise EngineTimeoutError(f"no answer from {self.url} in {seconds:g} s") from None

    def _work(self, work: Callable[[APIClient], _T], seconds: float) -> _T:
        client: APIClient | None = None
        try:
            client = self._idle.pop() if self._idle else self._new_client()
            client.timeout = seconds  # type: ignore[assignment]  # the stubs know whole ones only
            return work(client)
        except Exception as error:
            raise _translate(error, self.url, seconds) from error
        finally:
            if client is not None:
                self._give_back(client)

    def _new_client(self) -> APIClient:
        from docker import APIClient  # noqa: PLC0415  slow to import, needed only with an engine

        client = APIClient(base_url=self.url, version=self._api_version, timeout=_CONNECT_SECONDS)
        self._api_version = client.api_version  # asked of the engine once
        return client

    def _give_back(self, client: APIClient) -> None:
        # The SDK keeps a connection for each address that it ever asked, the ids of containers in
        # it; without this a client holds 25 that nobody will use again.
        client.close()
        if not self._closed:
            self._idle.append(client)


def _translate(error: Exception, url: str, seconds: float) -> EngineError:
    """The SDK's and its transport's errors, as ours."""
    from docker.errors import NotFound  # noqa: PLC0415  as above
    from requests.exceptions import ReadTimeout  # noqa: PLC0415  as above

    if isinstance(error, EngineError):
        return error
    if isinstance(error, NotFound):
        return NoSuchObjectError(_explain(error))
    if isinstance(error, ReadTimeout | TimeoutError):
        return EngineTimeoutError(f"no answer from {url} in {seconds:g} s")
    return EngineError(_explain(error))


def _explain(error: Exception) -> str:
    text = str(getattr(error, "explanation", None) or error)
    if isinstance(error, PermissionError) or "PermissionError" in text:
        return f"this user may not use its socket ({text})"
    if isinstance(error, FileNotFoundError | ConnectionRefusedError) or any(
        name in text for name in ("FileNotFoundError", "ConnectionRefusedError")
    ):
        return f"nothing listens there ({text})"
    return text


def _create(client: APIClient, config: JsonObject, name: str) -> str:
    answer = client.create_container_from_config(config, name)  # type: ignore[no-untyped-call]
    return str(answer["Id"])


def _image(client: APIClient, reference: str) -> ImageSummary:
    document = client.inspect_image(reference)  # type: ignore[no-untyped-call]
    layers = document["RootFS"].get("Layers") or ()
    return ImageSummary(reference=document["Id"], layers=tuple(layers))


def _attach(client: APIClient, container: str) -> socket.socket:
    params = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
    raw = client.attach_socket(container, params=params)
    # A descriptor of our own: the SDK's response can be closed, and the streams stay open.
    own = socket.socket(fileno=os.dup(raw.fileno()))
    response = getattr(raw, "_response", None)
    (raw if response is None else response).close()
    own.settimeout(0)
    return own


async def _close_when_made(connecting: asyncio.Future[socket.socket]) -> None:
    with contextlib.suppress(EngineError):  # not made
        (await connecting).close()


def _kill(client: APIClient, container: str) -> None:
    from docker.errors import APIError  # noqa: PLC0415  as above

    try:
        client.kill(container)
    except APIError as error:
        if error.status_code not in (404, 409):  # gone, or not running
            raise


def _remove(client: APIClient, container: str) -> None:
    from docker.errors import APIError  # noqa: PLC0415  as above

    try:
        client.remove_container(container, force=True, v=True)
    except APIError as error:
        if error.status_code == 409 and "already in progress" in str(error):  # noqa: PLR2004
            _wait_until_gone(client, container)
            return
        if error.status_code != 404:  # noqa: PLR2004  gone
            raise


def _wait_until_gone(client: APIClient, container: str) -> None:
    """Wait for a removal that somebody else has begun, as long as the client waits for anything."""
    from docker.errors import NotFound  # noqa: PLC0415  as above

    deadline = time.monotonic() + float(client.timeout or _CALL_SECONDS)
    while time.monotonic() < deadline:
        try:
            client.inspect_container(container)
        except NotFound:
            return
        time.sleep(_GONE_POLL_SECONDS)
    raise EngineTimeoutError(f"container {container[:12]} is still being removed")


def _remove_image(client: APIClient, reference: str) -> None:
    from docker.errors import APIError  # noqa: PLC0415  as above

    try:
        client.remove_image(reference)
    except APIError as error:
        if error.status_code == 409:  # noqa: PLR2004  in use
            raise ImageInUseError(_explain(error)) from error
        if error.status_code != 404:  # noqa: PLR2004  gone
            raise


def _save(client: APIClient, reference: str, archive: Path) -> None:
    with archive.open("wb") as file:
        for chunk in client.get_image(reference):
            file.write(chunk)


def _load(client: APIClient, archive: Path) -> None:
    with archive.open("rb") as file:
        for entry in client.load_image(file):  # type: ignore[no-untyped-call]
            if "error" in entry:
                raise EngineError(str(entry["error"]))
