"""Runs a tool's source inside of the sandbox and reports what of it was reached.

The host sends this text to a guest as a program and never runs it. The tool runs in the same
process, so it could say anything here: what comes back helps a reviewer and proves nothing.

Standard library only, and one file: the guest has nothing else.
"""

# ruff: noqa: ANN001, ANN201, ANN202, ANN204, D102  as the programs of the guest

import ast
import sys

_PROBE = "_reached_"
_NAME = "tool"
_GIVEN = (
    *("input_names", "read_input", "read_input_bytes", "write_output"),
    *("call_tool", "ToolCallError"),
)
"""What a service of the sandbox adds to this program is the tool's."""


class Instrument(ast.NodeTransformer):
    """Puts a note before each statement, and at the start of each way that a branch can go."""

    def __init__(self):
        self.statements = []
        self.arms = []

    def block(self, body, arm=None):
        """The statements of a block with their notes; `arm` is where and what leads here."""
        done = []
        if arm is not None:
            done.append(self.note(self.arms, arm, "a"))
        for number, statement in enumerate(body):
            first_text = number == 0 and is_text(statement)
            plain = isinstance(statement, ast.Global | ast.Nonlocal)
            future = isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
            if not (first_text or plain or future):
                done.append(self.note(self.statements, statement.lineno, "s"))
            done.append(self.visit(statement))
        return done

    def module(self, tree):
        """The whole source: notes stand behind its docstring and `__future__`."""
        head = 0
        for statement in tree.body:
            future = isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
            if not (future or (head == 0 and is_text(statement))):
                break
            head += 1
        tree.body[head:] = self.block(tree.body[head:])
        return ast.fix_missing_locations(tree)

    def function(self, node):
        head = 1 if is_text(node.body[0]) else 0
        node.body[head:] = self.block(node.body[head:]) or [ast.Pass()]
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = function  # noqa: N815

    def visit_If(self, node):
        node.test = self.visit(node.test)
        node.body = self.block(node.body, (node.lineno, "the condition was never true"))
        node.orelse = self.block(node.orelse, (node.lineno, "the condition was never false"))
        return node

    def visit_While(self, node):
        endless = isinstance(node.test, ast.Constant) and bool(node.test.value)
        node.test = self.visit(node.test)
        node.body = self.block(node.body, (node.lineno, "the loop was never entered"))
        if not endless:
            arm = (node.lineno, "the loop never ended by its condition")
            node.orelse = self.block(node.orelse, arm)
        return node

    def loop(self, node):
        node.iter = self.visit(node.iter)
        node.body = self.block(node.body, (node.lineno, "the loop was never entered"))
        arm = (node.lineno, "the loop never came to its end")
        node.orelse = self.block(node.orelse, arm)
        return node

    visit_For = visit_AsyncFor = loop  # noqa: N815

    def with_(self, node):
        self.generic_expressions(node.items)
        node.body = self.block(node.body)
        return node

    visit_With = visit_AsyncWith = with_  # noqa: N815

    def attempt(self, node):
        node.body = self.block(node.body)
        for handler in node.handlers:
            arm = (handler.lineno, "the exception was never caught here")
            handler.body = self.block(handler.body, arm)
        if node.orelse:
            node.orelse = self.block(node.orelse)
        if node.finalbody:
            node.finalbody = self.block(node.finalbody)
        return node

    visit_Try = visit_TryStar = attempt  # noqa: N815

    def visit_Match(self, node):
        node.subject = self.visit(node.subject)
        for case in node.cases:
            arm = (case.pattern.lineno, "the case never matched")
            case.body = self.block(case.body, arm)
        return node

    def visit_IfExp(self, node):
        node.test = self.visit(node.test)
        node.body = self.noted(node.body, (node.lineno, "the condition was never true"))
        node.orelse = self.noted(node.orelse, (node.lineno, "the condition was never false"))
        return node

    def generic_expressions(self, nodes):
        for node in nodes:
            self.generic_visit(node)

    def noted(self, expression, arm):
        """The expression, with a note when it is evaluated."""
        call = self.note(self.arms, arm, "a").value
        pair = ast.Tuple(elts=[call, self.visit(expression)], ctx=ast.Load())
        return ast.Subscript(value=pair, slice=ast.Constant(value=1), ctx=ast.Load())

    def note(self, places, place, kind):
        places.append(place)
        call = ast.Call(
            func=ast.Name(id=_PROBE, ctx=ast.Load()),
            args=[ast.Constant(value=kind + str(len(places) - 1))],
            keywords=[],
        )
        return ast.Expr(value=call)


def is_text(statement):
    """Whether it is a docstring, or another text that stands by itself."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def measure(source, function, arguments):
    """Call the function once; which statements and arms there are, and which were reached."""
    instrument = Instrument()
    tree = instrument.module(ast.parse(source))
    reached = set()
    module = type(sys)(_NAME)
    module.__dict__.update({name: globals()[name] for name in _GIVEN if name in globals()})
    module.__dict__[_PROBE] = reached.add
    before = sys.modules.get(_NAME)
    sys.modules[_NAME] = module
    ended = "returned"
    try:
        exec(compile(tree, "<tool>", "exec", dont_inherit=True), module.__dict__)  # noqa: S102
        call(module.__dict__[function], dict(arguments))
    except Exception as error:  # noqa: BLE001  an example may expect it
        ended = "raised " + type(error).__name__
    finally:
        if before is None:
            sys.modules.pop(_NAME, None)
        else:
            sys.modules[_NAME] = before
    return {
        "statements": instrument.statements,
        "arms": [list(arm) for arm in instrument.arms],
        "reached": sorted(reached),
        "ended": ended,
    }


def call(function, arguments):
    """Call it to its end, with the arguments that it takes by position in their places."""
    code = getattr(function, "__code__", None)
    count = code.co_posonlyargcount if code is not None else 0
    positional = []
    for name in code.co_varnames[:count] if count else ():
        if name not in arguments:
            break
        positional.append(arguments.pop(name))
    result = function(*positional, **arguments)
    if not hasattr(type(result), "__await__"):
        return result
    import asyncio  # noqa: PLC0415  few tools need it

    async def wait():
        return await result

    return asyncio.run(wait())
