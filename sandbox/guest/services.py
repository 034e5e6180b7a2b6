"""What a tool was granted beyond pure computation, found by the name of the grant.

Each grant has a module here with a class `Service(grant, send)`:

- `names`: what it adds to the globals of the tool's module,
- `receive(kind, payload)`: a frame of the host for it; runs on the listening thread,
- `finish()`: the function has returned or raised, and its answer has not been sent yet.

`send(kind, payload)` sends a frame to the host. Modules are loaded when they are granted: a tool
that was granted nothing pays nothing, and finds nothing.
"""

# ruff: noqa: ANN001, ANN201, ANN204  annotations cost start time; types are plain
# ruff: noqa: PLC0415  loaded when granted

from toolkiln_guest import channel

KINDS = {
    "files": (channel.INPUT,),
    "network": (channel.STREAM_DATA, channel.STREAM_CLOSE),
    "tools": (channel.TOOL_ANSWER,),
}
"""The frames of the host that belong to each."""


class Granted:
    """The services of one conversation."""

    def __init__(self):
        self.services = []
        self.names = {}

    def open(self, grants, send, inbox):
        """Make what `grants`, an object by service name, describes."""
        from importlib import import_module

        for name, grant in grants.items():
            service = import_module("toolkiln_guest." + name).Service(grant, send)
            self.services.append(service)
            self.names.update(service.names)
            for kind in KINDS[name]:
                inbox.services[kind] = service

    def finish(self):
        """Let each do what is left to do before the answer."""
        for service in self.services:
            service.finish()
