"""Options and fixtures that every kind of test shares."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# How fast a machine is decides no test. CI tries the same cases each time, people new ones.
settings.register_profile(
    "toolkiln",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("CI") == "true",
)
settings.load_profile("toolkiln")

pytest_plugins = [
    "aimock",
    "docker_fixtures",
    "postgres_server",
    "private_engine",
    "runtime_fixtures",
    "scenes",
    "store_places",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-docker",
        action="store_true",
        help="fail, instead of skip, the tests that need a Docker engine (CI=true does the same)",
    )
