"""How many tools a session and a tenant may propose; each costs a proof, stored or not."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from datetime import datetime, timedelta
from typing import Final

from policies.lifecycle import LifecycleSettings
from toolstore.models import Provenance

WINDOW: Final = timedelta(hours=24)


class DefinitionQuota:
    """Counts what is proposed in one process."""

    def __init__(self, settings: LifecycleSettings) -> None:
        self._settings = settings
        self._sessions: Counter[str] = Counter()
        self._tenants: defaultdict[str, deque[datetime]] = defaultdict(deque)

    def take(self, came: Provenance) -> str | None:
        """Count one more proposal; the refusal in words where it is one too many."""
        recent = self._tenants[came.author]
        while recent and recent[0] <= came.created_at - WINDOW:
            recent.popleft()
        of_session = self._sessions[came.session] if came.session is not None else 0
        if of_session >= self._settings.definitions_per_session:
            return (
                f"this session has proposed {of_session} tools, which is all that the policy "
                "allows (lifecycle.definitions_per_session). Use the tools that there are"
            )
        if len(recent) >= self._settings.definitions_per_tenant:
            return (
                f"{came.author} has proposed {len(recent)} tools in the last 24 hours, which is "
                "all that the policy allows (lifecycle.definitions_per_tenant). Use the tools "
                "that there are, or try again later"
            )
        recent.append(came.created_at)
        if came.session is not None:
            self._sessions[came.session] += 1
        return None
