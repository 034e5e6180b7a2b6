"""The tools of the store as one session has them: its pins, its own versions, its canaries."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.loader import LoadedTool, ToolLoader
from runtime.messages import ToolSpec
from toolstore.errors import StoreDamagedError, ToolNotCallableError
from toolstore.models import ToolRef
from toolstore.search import Bm25Index, searchable_text


class SessionTools:
    """A `Catalog` over one loader, for one session."""

    def __init__(self, loader: ToolLoader, session: str) -> None:
        self._loader = loader
        self._offers = loader.offers
        self._session = session
        self._pins: dict[str, str] = {}
        self._denied: dict[str, StoreDamagedError] = {}
        self._head = -1

    async def refresh(self) -> None:
        """Notice what changed in the store, the pins of this session included."""
        await self._offers.refresh()
        if self._offers.head != self._head:
            self._pins, self._denied = await self._offers.pins(self._session)
            self._head = self._offers.head

    async def get(self, name: str) -> LoadedTool | None:
        """What `name` means in this session, verified as it is loaded; None where it means nothing.

        Raises:
            ToolNotCallableError: The session is pinned to a version that was taken back.
            StoreDamagedError: The stored bytes are not what was approved, or a pin of this
                session is not what the log says.
        """
        if name in self._denied:
            raise self._denied[name]
        pin = self._pins.get(name)
        digest = self._offers.chosen(name, self._session, pin)
        if digest is None:
            return None
        try:
            return await self._loader.load(ToolRef(name=name, digest=digest), self._session)
        except ToolNotCallableError as error:
            if pin is None:
                return None  # it went since the refresh
            raise ToolNotCallableError(
                error.ref, error.state, f"{error.reason}. This session is pinned to it"
            ) from None

    async def search(self, query: str, limit: int) -> Sequence[ToolSpec]:
        """The best matches for `query`, best first; nothing that this session may not call."""
        names = await self._loader.matching(query, limit)
        specs = [tool.spec for name in names if (tool := await self.get(name)) is not None]
        own = await self._own_matches(query, {spec.name for spec in specs})
        return [*own, *specs][:limit]

    def names(self) -> Sequence[str]:
        """Names that mean something in this session."""
        return self._offers.names_for(self._session, self._pins)

    async def _own_matches(self, query: str, known: set[str]) -> list[ToolSpec]:
        """Matches among what has no stable version: the index of all is of those alone."""
        specs: dict[str, ToolSpec] = {}
        index: Bm25Index[str] = Bm25Index()
        for name in set(self.names()) - set(self._offers.names()) - known:
            if (tool := await self.get(name)) is not None:
                specs[name] = tool.spec
                version = tool.version
                index.add(name, searchable_text(version.source, version.source_schema))
        return [specs[name] for name in index.search(query, len(specs))]
