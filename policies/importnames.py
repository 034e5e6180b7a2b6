"""Which imports a declared package brings: the index may know it by another name than `import`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

__all__ = ["IMPORT_NAMES", "REACHED_THROUGH_PACKAGES", "PackageImports", "distribution_of"]

IMPORT_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "attrs": ("attr", "attrs"),
    "beautifulsoup4": ("bs4",),
    "biopython": ("Bio",),
    "charset-normalizer": ("charset_normalizer",),
    "faiss-cpu": ("faiss",),
    "fonttools": ("fontTools",),
    "gitpython": ("git",),
    "imbalanced-learn": ("imblearn",),
    "jinja2": ("jinja2",),
    "levenshtein": ("Levenshtein",),
    "markdown-it-py": ("markdown_it",),
    "markupsafe": ("markupsafe",),
    "matplotlib": ("matplotlib", "mpl_toolkits", "pylab"),
    "numpy": ("numpy",),
    "opencv-python": ("cv2",),
    "opencv-python-headless": ("cv2",),
    "pandas": ("pandas",),
    "pillow": ("PIL",),
    "protobuf": ("google",),
    "pycryptodome": ("Crypto",),
    "pygments": ("pygments",),
    "pymupdf": ("fitz", "pymupdf"),
    "python-dateutil": ("dateutil",),
    "python-docx": ("docx",),
    "python-levenshtein": ("Levenshtein",),
    "python-pptx": ("pptx",),
    "pyyaml": ("yaml",),
    "ruamel-yaml": ("ruamel",),
    "scikit-image": ("skimage",),
    "scikit-learn": ("sklearn",),
    "scipy": ("scipy",),
    "setuptools": ("setuptools", "pkg_resources"),
    "sympy": ("sympy",),
    "xlsxwriter": ("xlsxwriter",),
}
"""Import names by normalised distribution name, where they are well known. Every other
distribution is taken to be imported by its own name."""

REACHED_THROUGH_PACKAGES: Final = frozenset(
    {
        *("_ctypes", "_socket", "asyncio", "atexit", "builtins", "cffi", "codecs", "ctypes"),
        *("fcntl", "gc", "importlib", "inspect", "marshal", "mmap", "multiprocessing", "os"),
        *("pickle", "pkgutil", "posix", "pty", "resource", "runpy", "shutil", "socket"),
        *("ssl", "subprocess", "sys", "tempfile", "threading", "traceback", "urllib"),
        *("warnings", "weakref", "zipfile"),
    }
)
"""Modules of the standard library that many packages have among their public names. A list of
what to refuse, since packages have members that are merely called like a module: `scipy.signal`,
`numpy.trace`, `pandas.io`."""

_NAME: Final = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)")
_DISTRIBUTIONS: Final = {
    name: distribution for distribution, names in IMPORT_NAMES.items() for name in names
}


def distribution_of(module: str) -> str:
    """The distribution that most likely has `module`."""
    root = module.partition(".")[0]
    return _DISTRIBUTIONS.get(root, root.lower().replace("_", "-"))


def _normalised(requirement: str) -> str | None:
    match = _NAME.match(requirement)
    return None if match is None else re.sub(r"[-_.]+", "-", match[1]).lower()


def _names_of(distribution: str) -> tuple[str, ...]:
    return IMPORT_NAMES.get(distribution, (distribution.replace("-", "_"),))


@dataclass(frozen=True)
class PackageImports:
    """The top-level modules that a tool's declared packages bring."""

    names: dict[str, str] = field(default_factory=dict)
    """The declared requirement by top-level module, in the spelling of its declaration."""

    unclear: dict[str, str] = field(default_factory=dict)
    """Modules that are imported and known to nobody, with a declared package that may have them:
    one that no table knows and of which the module of its own name is not imported."""

    @classmethod
    def of(cls, requirements: Iterable[str], imported: Iterable[str] = ()) -> PackageImports:
        """What `requirements` bring to a source that imports the modules `imported`."""
        declared = {name: text for text in requirements if (name := _normalised(text)) is not None}
        names = {module: text for name, text in declared.items() for module in _names_of(name)}
        roots = {module.partition(".")[0] for module in imported}
        spare = [
            text
            for name, text in declared.items()
            if name not in IMPORT_NAMES and not roots & set(_names_of(name))
        ]
        unknown = sorted(roots - names.keys() - set(sys.stdlib_module_names) - {""})
        unclear = (
            {}
            if not spare
            else {module: spare[0] for module in unknown if module not in _DISTRIBUTIONS}
        )
        return cls(names, unclear)

    def requirement(self, module: str) -> str | None:
        """The declared requirement that has `module`; None where none has."""
        root = module.partition(".")[0]
        return self.names.get(root) or self.unclear.get(root)
