"""What finds equal tools: the normal form of a version's code, and the shape of its schema.

Both follow from the version, and serve to find candidates alone; whoever finds one looks at the
verified version itself.
"""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from toolstore import tables
from toolstore.models import Lifecycle, ToolRef

_form = tables.version_form.c
_state = tables.version_state.c
_version = tables.tool_version.c


def note(connection: Connection, version: str, *, normal: str, shape: str) -> None:
    """Keep the forms of a version; what is kept already stays."""
    if connection.scalar(select(_form.version).where(_form.version == version)) is None:
        values = {"version": version, "normal": normal, "shape": shape}
        connection.execute(insert(tables.version_form).values(values))


def approved_alike(
    connection: Connection,
    *,
    normal: str | None = None,
    shape: str | None = None,
    limit: int,
) -> tuple[ToolRef, ...]:
    """Exact references of approved versions with that normal form, or of that shape, latest first.

    At least one of the two is given.
    """
    query = (
        select(tables.tool.c.name, _form.version)
        .select_from(
            tables.version_form.join(tables.version_state, _state.version == _form.version)
            .join(tables.tool_version, _version.digest == _form.version)
            .join(tables.tool, tables.tool.c.id == _version.tool)
        )
        .where(_state.state == Lifecycle.APPROVED.value)
        .order_by(_state.event.desc())
        .limit(limit)
    )
    if normal is not None:
        query = query.where(_form.normal == normal)
    if shape is not None:
        query = query.where(_form.shape == shape)
    return tuple(ToolRef(name=name, digest=digest) for name, digest in connection.execute(query))
