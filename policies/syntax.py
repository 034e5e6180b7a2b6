"""From text to a syntax tree that is safe to walk, or to the findings that say why not."""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from policies.limits import SourceLimits
from policies.reporter import Reporter, Spot, shown

_FILE: Final = "<tool>"
_COMPREHENSIONS: Final = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_FLATTEN: Final = {
    "LM501": "use intermediate variables, or a function for the inner part",
    "LM503": "write the outer comprehensions as loops",
    "LM504": "move the inner `try` statements into functions",
}
_LOOK_ALIKE: Final = "the identifier {!r} has letters outside of ASCII"
_SPELL: Final = "spell it with the letters a-z"
_TRIES: Final = (ast.Try, ast.TryStar)


def parse(code: str, limits: SourceLimits, report: Reporter) -> ast.Module | None:
    """Parse `code`, bound the tree, and compile it once for the errors that only that finds.

    None where there is no tree that recursive visitors may walk; `report` says why.
    """
    tree = _tree(code, report)
    if tree is None or not _within_limits(tree, limits, report):
        return None
    _check_joined_statements(code, report)
    _check_identifiers(code, tree, report)
    return tree if _compiles(code, report) else None


def reparse(code: str) -> ast.Module:
    """A second tree of the same text, for a visitor that changes the tree it walks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(code, _FILE)


def _tree(code: str, report: Reporter) -> ast.Module | None:
    try:
        return reparse(code)
    except SyntaxError as error:
        _report_syntax_error(error, report)
    except ValueError as error:
        report.on("RP101", None, f"not Python: {shown(str(error))}", "mend the syntax")
    except (RecursionError, MemoryError):
        report.on(
            "LM501",
            None,
            "the code is nested so deep that it cannot be parsed",
            "use intermediate variables or a loop instead of one deep expression",
        )
    return None


def _report_syntax_error(error: SyntaxError, report: Reporter) -> None:
    line = min(max(1, error.lineno or 1), len(report.lines))
    column = max(1, error.offset or 1)
    end_line = max(line, min(error.end_lineno or line, len(report.lines)))
    end_column = max(error.end_offset or 0, column + 1 if end_line == line else 1)
    report.on(
        "RP101",
        Spot(line, column, end_line, end_column),
        f"not Python: {shown(error.msg or 'invalid syntax', characters=200)}",
        "mend the syntax at this place",
    )


def _compiles(code: str, report: Reporter) -> bool:
    """Find what only compiling finds, such as `return` outside of a function; runs nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(code, _FILE, "exec", dont_inherit=True)
    except SyntaxError as error:
        _report_syntax_error(error, report)
    except (RecursionError, MemoryError, ValueError, OverflowError):
        report.on(
            "LM501",
            None,
            "the code is nested so deep that it cannot be compiled",
            "use intermediate variables or a loop instead of one deep expression",
        )
    else:
        return True
    return False


@dataclass(slots=True)
class _Nesting:
    """How deep a node stands, in all and inside of what breaks compilers."""

    depth: int = 0
    comprehensions: int = 0
    tries: int = 0

    def inside(self, node: ast.AST) -> _Nesting:
        """The nesting of what `node` contains."""
        return _Nesting(
            self.depth + 1,
            self.comprehensions + isinstance(node, _COMPREHENSIONS),
            self.tries + isinstance(node, _TRIES),
        )

    def excess(self, limits: SourceLimits) -> tuple[str, str, int, int] | None:
        """The rule that is broken, what is nested, how deep, and how deep it may be."""
        return next(
            (
                (rule, what, given, allowed)
                for rule, what, given, allowed in (
                    ("LM501", "syntax is", self.depth, limits.tree_depth),
                    (
                        "LM503",
                        "comprehensions are",
                        self.comprehensions,
                        limits.comprehension_depth,
                    ),
                    ("LM504", "`try` statements are", self.tries, limits.try_depth),
                )
                if given > allowed
            ),
            None,
        )


def _within_limits(tree: ast.Module, limits: SourceLimits, report: Reporter) -> bool:
    """Count without recursion; nothing below a node that is too deep is looked at."""
    before = len(report.findings)
    reported: set[str] = set()
    nodes = 0
    pending: list[tuple[ast.AST, _Nesting]] = [(tree, _Nesting())]
    while pending:
        node, nesting = pending.pop()
        nodes += 1
        inside = nesting.inside(node)
        excess = inside.excess(limits)
        if excess is None:
            pending += [(child, inside) for child in ast.iter_child_nodes(node)]
        elif excess[0] not in reported:
            rule, what, given, allowed = excess
            reported.add(rule)
            message = f"{what} nested to depth {given}; at most {allowed} is taken"
            report.at(rule, node, message, _FLATTEN[rule])
    if nodes > limits.tree_nodes:
        report.on(
            "LM502",
            None,
            f"the syntax tree has {nodes} nodes; at most {limits.tree_nodes} are taken",
            "split the code into several tools, and pass large data as arguments",
        )
    return len(report.findings) == before


def _check_joined_statements(code: str, report: Reporter) -> None:
    """Refuse semicolons that are syntax; those in strings and comments are text."""
    if ";" not in code:
        return
    tokens = _tokens(code)
    for token, following in pairwise(tokens):
        ends_line = following.type in {tokenize.NEWLINE, tokenize.COMMENT}
        if token.type == tokenize.OP and token.string == ";" and not ends_line:
            line, column = token.start
            report.on(
                "RP102",
                Spot(line, column + 1, line, column + 2),
                "a semicolon joins two statements on one line",
                "put each statement on a line of its own",
            )


def _check_identifiers(code: str, tree: ast.Module, report: Reporter) -> None:
    """Refuse look-alike letters: those that stay, and those that Python folds to ASCII."""
    if code.isascii():
        return
    lines = _raw_identifiers(code, report)
    for node in ast.walk(tree):  # what tokens do not show: names inside of f-strings, on 3.11
        for name in _identifiers(node):
            if not name.isascii() and getattr(node, "lineno", 0) not in lines:
                report.at("RP103", node, _LOOK_ALIKE.format(shown(name)), _SPELL)


def _identifiers(node: ast.AST) -> list[str]:
    found: list[str] = []
    for field in ("id", "attr", "name", "asname", "arg", "rest", "module"):
        value = getattr(node, field, None)
        if isinstance(value, str):
            found.append(value)
    for field in ("names", "kwd_attrs"):
        found += [name for name in getattr(node, field, ()) if isinstance(name, str)]
    return found


def _raw_identifiers(code: str, report: Reporter) -> set[int]:
    """Report identifiers as they are spelt, and give the lines that have some."""
    lines: set[int] = set()
    for token in _tokens(code):
        if token.type == tokenize.NAME and not token.string.isascii():
            line, column = token.start
            lines.add(line)
            spot = Spot(line, column + 1, line, token.end[1] + 1)
            report.on("RP103", spot, _LOOK_ALIKE.format(shown(token.string)), _SPELL)
    return lines


def _tokens(code: str) -> list[tokenize.TokenInfo]:
    """The tokens of text that parses; none where the tokenizer disagrees with the parser."""
    try:
        return list(tokenize.generate_tokens(io.StringIO(code).readline))
    except (tokenize.TokenError, SyntaxError):
        return []
