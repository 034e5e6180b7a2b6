"""Imports of a tool: which modules, which of their members, and how they are used."""

from __future__ import annotations

import ast
import json
from typing import Final

from policies.importnames import REACHED_THROUGH_PACKAGES, PackageImports, distribution_of
from policies.leaks import LEAKS
from policies.modules import (
    CLIENTS,
    DECLARABLE,
    DENIED,
    NETWORK,
    PURE,
    Access,
    ImportRules,
    access,
    nearest_module,
)
from policies.permissions import LintLevel
from policies.reporter import Reporter, shown
from policies.scopes import Scopes

_INSTEAD: Final = {
    "subprocess": "do the work in Python itself; tools start no processes",
    "multiprocessing": "compute in one process; at L2, threads of concurrent.futures are available",
    "pickle": "use json",
    "marshal": "use json",
    "shelve": "use a dict, and return it",
    "importlib": "use import statements",
    "ctypes": "use struct, array or plain Python",
    "inspect": "pass what you need as parameters",
    "builtins": "use the built-ins by their names",
    "gc": "delete the use",
    "platform": "use sys.version_info or sys.platform",
    "numpy": "use math, statistics and plain lists",
    "pandas": "use csv, statistics and lists of dicts",
    "matplotlib": "return the figures that a plot would show",
    "requests": "take the text that is to be read as a parameter",
    "httpx": "take the text that is to be read as a parameter",
    "yaml": "use json or tomllib",
}


class ImportChecker:
    """Judges modules and their members for one tool."""

    def __init__(
        self, rules: ImportRules, scopes: Scopes, report: Reporter, packages: tuple[str, ...] = ()
    ) -> None:
        self._rules = rules
        self._scopes = scopes
        self._report = report
        self._declared_packages = packages
        self._packages = PackageImports.of(packages)
        self._wanted: frozenset[str] = frozenset()
        self.used: set[str] = set()
        """Every module that the source imports."""

    def survey(self, tree: ast.Module) -> None:
        """Collect what the source would have to declare, so that one suggestion names all."""
        modules: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module)
                modules.update(f"{node.module}.{alias.name}" for alias in node.names)
        self._wanted = frozenset(modules & DECLARABLE)
        self._packages = PackageImports.of(self._declared_packages, modules)

    def check_import(self, node: ast.Import) -> None:
        """Check `import a.b as c`."""
        for alias in node.names:
            self._check_module(alias.name, alias)

    def check_import_from(self, node: ast.ImportFrom) -> None:
        """Check `from a import b`, the module and each member."""
        if node.level:
            self._report.at(
                "RP204",
                node,
                "a relative import has nothing to be relative to",
                "put everything that the tool needs into its own code",
            )
            return
        module = node.module or ""
        allowed = self._check_module(module, node)
        for alias in node.names:
            if alias.name == "*":
                self._report.at(
                    "RP203",
                    node,
                    f"`from {module} import *` hides where names come from",
                    f"import the names that you use: `from {module} import name`",
                )
            elif allowed and module != "__future__":
                self.check_member(module, alias.name, alias)

    def check_chain(self, node: ast.Attribute) -> bool:
        """Check `module.a.b`; False when `node` does not begin with a module."""
        links: list[ast.Attribute] = []
        root: ast.expr = node
        while isinstance(root, ast.Attribute):
            links.append(root)
            root = root.value
        if not isinstance(root, ast.Name):
            return False
        modules = self._modules(root)
        for module in sorted(modules | self._package_members(root)):
            current: str | None = module
            for link in reversed(links):
                current = self._check_link(current, link)
                if current is None:
                    break
        return bool(modules)

    def check_member(self, module: str, member: str, node: ast.AST) -> str | None:
        """Check one member of an allowed module; gives the submodule that it is, or None."""
        dotted = f"{module}.{member}"
        denied = DENIED.get(module, frozenset())
        only = self._rules.only(module)
        if module == "os" and member in denied:
            self._report.at(
                "RP314",
                node,
                f"{dotted} controls processes, which no tool may",
                "do the work in Python itself",
            )
        elif member in denied:
            self._report.at(
                "RP207",
                node,
                f"{dotted} reaches further than the rest of {module}",
                f"use another member of {module}, or write it out",
            )
        elif only is not None and member not in only:
            self._refuse_beyond(module, member, only, node)
        elif dotted in PURE or dotted in DECLARABLE or dotted in CLIENTS:
            return dotted if self._check_module(dotted, node) else None
        elif self._is_packaged(module) and member not in REACHED_THROUGH_PACKAGES:
            return dotted
        elif self._is_packaged(module) or member in LEAKS.get(module, frozenset()):
            self._report.at(
                "RP208",
                node,
                f"{dotted} is a module reached through {module}",
                f"import {member} by itself if it is available, or delete the use",
            )
        return None

    def check_value(self, node: ast.Name) -> None:
        """Refuse a module that is used as a value: what is done with it cannot be seen."""
        for module in sorted(self._modules(node)):
            self._report.at(
                "RP210",
                node,
                f"the module {shown(module)!r} is used as a value",
                f"use its members where they are needed: {node.id}.member",
            )

    def check_permissions(self, imports: tuple[str, ...]) -> None:
        """Refuse declarations that nobody can grant, and point out needless ones."""
        for name in imports:
            where = access(name)
            if self._rules.allows(name) and name in CLIENTS:
                continue  # needs no declaration at L3, and does no harm
            if where not in {Access.ALLOWED, Access.DECLARE}:
                near = nearest_module(name)
                hint = f"declare {near!r} instead" if near else f"drop {shown(name)!r}"
                if where is Access.PACKAGE:
                    hint = "name its package in permissions.packages, not"
                self._report.on(
                    "RP213",
                    None,
                    f"the permission to import {shown(name)!r} cannot be granted: {_WHY[where]}",
                    f"{hint} in permissions.imports",
                )
            elif not any(m == name or m.startswith(name + ".") for m in self.used):
                self._report.on(
                    "RP211",
                    None,
                    f"the import of {name!r} is declared and not used",
                    f"drop {name!r} from permissions.imports",
                )

    def check_packages(self) -> None:
        """Point out packages that are declared and not imported."""
        used = {self._packages.requirement(module) for module in self.used}
        for text in self._declared_packages:
            if text not in used:
                self._report.on(
                    "RP211",
                    None,
                    f"the package {shown(text)!r} is declared and not imported",
                    f"drop {shown(text)!r} from permissions.packages",
                )

    def _is_packaged(self, module: str) -> bool:
        """Whether a declared package has `module`; one for the network needs its level too."""
        if self._packages.requirement(module) is None:
            return False
        return module.partition(".")[0] not in NETWORK or self._rules.level is LintLevel.L3

    def _package_members(self, name: ast.Name) -> set[str]:
        """What was imported from packages under this name; each may be a module of theirs."""
        return {
            f"{module}.{member}"
            for module, member in self._scopes.members(name)
            if self._is_packaged(module)
        }

    def _modules(self, name: ast.Name) -> frozenset[str]:
        members = {f"{module}.{member}" for module, member in self._scopes.members(name)}
        return self._scopes.modules(name) | (members & (PURE | DECLARABLE | CLIENTS))

    def _check_link(self, module: str | None, link: ast.Attribute) -> str | None:
        if module is None:
            return None
        if not isinstance(link.ctx, ast.Load):
            self._report.at(
                "RP207",
                link,
                f"{shown(module)}.{shown(link.attr)} is changed, and with it the module for all",
                "keep the value in a variable of your own",
            )
            return None
        if link.attr.startswith("_"):
            self._report.at(
                "RP304",
                link,
                f"{shown(link.attr)!r} is private to the module {module}",
                "use the module's public members",
            )
            return None
        return self.check_member(module, link.attr, link)

    def _check_module(self, module: str, node: ast.AST) -> bool:
        """Whether `module` may be imported; reports why not."""
        self.used.add(module)
        if self._rules.allows(module):
            return True
        if self._is_packaged(module):
            return self._check_packaged(module, node)
        where = access(module)
        match where:
            case Access.DECLARE:
                self._refuse_undeclared(module, node)
            case Access.NETWORK:
                self._refuse_network(module, node)
            case Access.PACKAGE:
                self._refuse_package(module, node)
            case _:
                near = nearest_module(module)
                hint = f"did you mean {near!r}?" if near else "write it with an allowed module"
                self._report.at(
                    "RP202",
                    node,
                    f"the module {shown(module)!r} is available to no tool",
                    _INSTEAD.get(module.partition(".")[0], hint),
                )
        return False

    def _check_packaged(self, module: str, node: ast.AST) -> bool:
        private = next((part for part in module.split(".") if part.startswith("_")), None)
        root = module.partition(".")[0]
        if private is not None:
            self._report.at(
                "RP304",
                node,
                f"{shown(private)!r} is private to the package {shown(root)}",
                "import its public modules",
            )
        elif root in self._packages.unclear:
            self._report.at(
                "RP214",
                node,
                f"{shown(root)!r} is taken to come with {shown(self._packages.unclear[root])!r}, "
                "which is not known here to have it",
                "if it does not, name the package that has it in permissions.packages",
            )
        return private is None

    def _refuse_undeclared(self, module: str, node: ast.AST) -> None:
        rule = "RP209" if self._rules.code_level else "RP201"
        level = "is not declared" if self._rules.code_level else "is not available at L0"
        self._report.at(
            rule, node, f"the module {module!r} {level}", f"declare {self._declaration(module)}"
        )

    def _refuse_package(self, module: str, node: ast.AST) -> None:
        root = module.partition(".")[0]
        near = nearest_module(module)
        if near is not None and near != module and root not in _INSTEAD:
            advice = f"did you mean {near!r}? " + _INSTEAD.get(near, "").capitalize()
        else:
            packages = json.dumps([*self._declared_packages, distribution_of(module)])
            advice = (
                f'declare "permissions": {{"packages": {packages}}}, which the policy must grant, '
                f"or {_INSTEAD.get(root, 'use the standard library')}"
            )
        self._report.at(
            "RP205",
            node,
            f"{shown(module)!r} is not in the standard library, and no declared package has it",
            advice,
        )

    def _refuse_network(self, module: str, node: ast.AST) -> None:
        if self._rules.level is LintLevel.L3:
            problem = f"{shown(module)!r} speaks what the broker does not: it passes on HTTP alone"
            advice = "send requests with urllib.request or http.client"
        else:
            problem = f"{shown(module)!r} needs the network, and no hosts are declared"
            advice = (
                'declare "permissions": {"hosts": ["https://api.example.com/v1/"]} with the real '
                "address, which the policy must grant, or take what would be fetched as a parameter"
            )
        self._report.at("RP206", node, problem, advice)

    def _refuse_beyond(self, module: str, member: str, only: frozenset[str], node: ast.AST) -> None:
        some = ", ".join(sorted(only)[:6])
        if self._rules.can_lift(module):
            advice = f"use {some}, or declare {self._declaration(module)}"
        else:
            advice = f"use {some}"
        self._report.at(
            "RP207",
            node,
            f"{module}.{shown(member)} is not among the members of {module} available here",
            advice,
        )

    def _declaration(self, module: str) -> str:
        imports = sorted({module} | self._wanted | self._rules.declared)
        return '"permissions": ' + json.dumps({"imports": imports})


_WHY: Final = {
    Access.NETWORK: "it comes with permissions.hosts, and only for HTTP",
    Access.PACKAGE: "it is not in the standard library",
    Access.NEVER: "it is available to no tool",
}
