"""One version as a reviewer sees it, all parts one under the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from runtime.review.item import ReviewItem
    from runtime.settings import Settings
    from toolstore.models import ToolVersion


async def look_at(
    settings: Settings, ref: str, *, measured: bool = False
) -> tuple[ToolVersion, ReviewItem]:
    """The version that is meant, and what a reviewer sees of it.

    Raises:
        AccessRefusedError: The policy does not let them read it.
        ToolNotFoundError: There is no such version.
    """
    from runtime.wiring import open_runtime  # noqa: PLC0415 - lists do without

    async with open_runtime(settings=settings) as runtime:
        item = await runtime.desk.item(ref, measured=measured, reader=settings.principal)
        return await runtime.store.version(item.digest), item


def item_view(item: ReviewItem) -> RenderableType:
    """All that the review screen shows of a version, one part under the other."""
    from rich.text import Text  # noqa: PLC0415 - lists do without

    from runtime.cli.reviewlines import RICH_STYLES  # noqa: PLC0415 - same
    from runtime.cli.reviewtabs import TABS, lines_of  # noqa: PLC0415 - same

    text = Text()
    for name in TABS:
        text.append(f"-- {name} ".ljust(60, "-") + "\n", style="bold")
        for line in lines_of(item, name):
            for style, part in line:
                text.append(part, style=RICH_STYLES[style])
            text.append("\n")
        text.append("\n")
    text.append(f"digest {item.digest}", style="bold")
    return text
