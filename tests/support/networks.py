"""A service of the network under a policy made for a test, and a tool that sends requests."""

from __future__ import annotations

from typing import Any

from policies.config import PolicyProfile
from policies.permissions import Permissions
from runtime.profiles import read_profile
from sandbox.broker.addresses import Resolver, resolve
from sandbox.broker.service import NetworkService

SECRET = "correct-horse-battery/9"
CLIENT = """
import http.client, urllib.request, urllib.error

def get(url, **rest):
    try:
        request = urllib.request.Request(url, **rest)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return [answer.status, answer.read().decode()]
    except urllib.error.HTTPError as error:
        return [error.code, error.read().decode()]
    except (OSError, http.client.HTTPException) as error:
        return [0, repr(error)]

def run():
    return [get(url) for url in URLS]
"""


def make_service(
    *hosts: str,
    allow: tuple[str, ...] | None = None,
    secrets: dict[str, Any] | None = None,
    value: str | None = SECRET,
    in_trial: bool = False,
    resolver: Resolver = resolve,
    **network: Any,
) -> NetworkService:
    local = read_profile("local").model_dump(mode="json")
    network = {"private_addresses": ["127.0.0.0/8"], "allow": allow or hosts, **network}
    profile = PolicyProfile.model_validate({**local, "network": network, "secrets": secrets or {}})
    return NetworkService(
        Permissions(hosts=hosts, secrets=tuple(secrets or ())),
        profile,
        secrets=lambda _name: value,
        in_trial=in_trial,
        resolver=resolver,
    )


def key_for(url: str, **fields: Any) -> dict[str, Any]:
    return {"key": {"hosts": [url], "header": "X-Key", "format": "Bearer {secret}", **fields}}
