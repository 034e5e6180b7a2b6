"""A tool's source, run anew for each call."""

# ruff: noqa: ANN001, ANN201, ANN202, ANN204  annotations cost start time; types are plain
# ruff: noqa: PLC0415  slow modules wait until the posture is on its way: the host checks it then

import sys

TOOL_FILE = "<tool>"
TOOL_MODULE = "tool"
NEVER_AWAITED = frozenset({type(None), bool, int, float, str, list, tuple, dict})
"""To ask a class for what it has not costs an exception, and most results are of these."""


class Program:
    """A tool's source, run anew for each call."""

    def __init__(self, source, function):
        self.source = source
        self.function = function
        self.code = None

    def call(self, arguments, names):
        """Run the source in a fresh module, to which `names` are added, and call its function."""
        function = self.load(names)
        positional, keywords = bind(function, arguments)
        result = function(*positional, **keywords)
        if type(result) in NEVER_AWAITED or not hasattr(type(result), "__await__"):
            return result
        return finish(result)

    def compile(self):
        """Compile the source, once."""
        if self.code is None:
            import linecache

            lines = self.source.splitlines(keepends=True)
            linecache.cache[TOOL_FILE] = (len(self.source), None, lines, TOOL_FILE)
            self.code = compile(self.source, TOOL_FILE, "exec", dont_inherit=True)

    def forget(self):
        """Leave nothing of it where the next program could see it."""
        import linecache

        linecache.cache.pop(TOOL_FILE, None)
        sys.modules.pop(TOOL_MODULE, None)

    def load(self, names):
        """The function, from a fresh module that dataclasses and typing find by its name."""
        self.compile()
        module = type(sys)(TOOL_MODULE)
        module.__dict__.update(names)
        sys.modules[TOOL_MODULE] = module
        exec(self.code, module.__dict__)  # noqa: S102  this is the place where tools run
        try:
            return module.__dict__[self.function]
        except KeyError:
            raise NameError(f"the source defines no function {self.function!r}") from None


def bind(function, arguments):
    """Arguments by name, but for those that the function takes by position only."""
    plain = function
    while (wrapped := getattr(plain, "__wrapped__", None)) is not None:
        plain = wrapped
    code = getattr(plain, "__code__", None)
    if code is None or not code.co_posonlyargcount:
        return [], arguments
    names = code.co_varnames[: code.co_posonlyargcount]
    defaults = plain.__defaults__ or ()
    optional = dict(zip(code.co_varnames[: code.co_argcount][::-1], defaults[::-1], strict=False))
    keywords, positional = dict(arguments), []
    for name in names:
        if not any(later in keywords for later in names[len(positional) :]):
            break
        if name not in keywords and name not in optional:
            break
        positional.append(keywords.pop(name, optional.get(name)))
    return positional, keywords


def finish(awaitable):
    """The result of an `async def`."""
    import asyncio

    async def wait():
        return await awaitable

    return asyncio.run(wait())
