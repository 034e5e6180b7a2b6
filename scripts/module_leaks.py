"""Print `policies/leaks.py` for the running interpreter merged with what the file has.

Run it once with every supported interpreter, from the root of the checkout:

    python3.11 scripts/module_leaks.py > leaks.new && mv leaks.new policies/leaks.py
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import types
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from policies.leaks import LEAKS
from policies.modules import CLIENTS, DECLARABLE, PURE

HEAD = '''"""Modules reachable as attributes of allowed modules; made by scripts/module_leaks.py.

The union over the supported interpreters. Submodules count whether or not they are loaded.
"""

from __future__ import annotations

from typing import Final

LEAKS: Final[dict[str, frozenset[str]]] = {
'''


def leaks_of(name: str) -> set[str]:
    """Public attributes of the module `name` that are modules and not on the lists."""
    available = PURE | DECLARABLE | CLIENTS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module(name)
    found = {
        attribute
        for attribute, value in vars(module).items()
        if isinstance(value, types.ModuleType)
    }
    found |= {info.name for info in pkgutil.iter_modules(getattr(module, "__path__", ()))}
    return {a for a in found if not a.startswith("_") and f"{name}.{a}" not in available}


def main() -> None:
    """Print the table."""
    table = {name: set(leaks) for name, leaks in LEAKS.items()}
    for name in sorted(PURE | DECLARABLE | CLIENTS):
        table.setdefault(name, set()).update(leaks_of(name))
    print(HEAD, end="")
    for name, leaks in sorted(table.items()):
        if leaks:
            listed = ", ".join(f'"{leak}"' for leak in sorted(leaks))
            print(f'    "{name}": frozenset({{{listed}}}),')
    print("}")


if __name__ == "__main__":
    main()
