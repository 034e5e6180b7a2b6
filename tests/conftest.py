"""Options and fixtures that every kind of test shares."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# How fast a machine is decides no test.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

pytest_plugins = ["docker_fixtures", "runtime_fixtures"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-docker",
        action="store_true",
        help="fail, instead of skip, the tests that need a Docker engine (CI=true does the same)",
    )
