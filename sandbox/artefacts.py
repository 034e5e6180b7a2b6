"""Files that a call left behind: what is known of them, and what their first bytes say they are."""

from __future__ import annotations

from typing import Final, Self

from pydantic import Field

from policies.value import Value, sha256_digest

__all__ = ["Artefact", "ArtefactInfo", "media_type_of"]

_SNIFFED_BYTES: Final = 4_096
_OTHER: Final = "application/octet-stream"
_MAGIC: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
)
_TEXT_BY_ENDING: Final = {
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".json": "application/json",
    ".md": "text/markdown",
    ".html": "text/html",
    ".htm": "text/html",
}


class ArtefactInfo(Value):
    """What is known of a file that a call left behind."""

    name: str
    media_type: str
    """From its first bytes; among texts, from the ending of its name."""

    size_bytes: int = Field(ge=0)
    digest: str
    """`sha256:<hex>` of its bytes."""


class Artefact(ArtefactInfo):
    """The file itself. Its bytes are the guest's: never run, never unpacked, never trusted."""

    data: bytes = Field(exclude=True, repr=False)

    @classmethod
    def of(cls, name: str, data: bytes) -> Self:
        """The file `name` with `data`."""
        return cls(
            name=name,
            media_type=media_type_of(name, data),
            size_bytes=len(data),
            digest=sha256_digest(data),
            data=data,
        )

    @property
    def info(self) -> ArtefactInfo:
        """Everything but the bytes."""
        return ArtefactInfo(
            name=self.name,
            media_type=self.media_type,
            size_bytes=self.size_bytes,
            digest=self.digest,
        )


def media_type_of(name: str, data: bytes) -> str:
    """The media type that the first bytes of `data` show; linear, and never raises."""
    head = data[:_SNIFFED_BYTES]
    for magic, media_type in _MAGIC:
        if head.startswith(magic):
            return media_type
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if not _is_text(head):
        return _OTHER
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"<svg") or (start.startswith(b"<?xml") and b"<svg" in start):
        return "image/svg+xml"
    ending = name[name.rfind(".") :].lower() if "." in name else ""
    return _TEXT_BY_ENDING.get(ending, "text/plain")


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # A character may be cut in two where the sample ends.
        return len(head) == _SNIFFED_BYTES and error.start >= _SNIFFED_BYTES - 4
    return True
