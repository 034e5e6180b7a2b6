"""Declared packages: understood, held to what the policy grants, and imported by their names."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from proposals import body, errors, findings, rules
from pydantic import ValidationError

from policies.config import PackageSettings, PolicyProfile, load_profile
from policies.errors import PolicyConfigError
from policies.grants import grant_problems
from policies.packages import (
    RequirementError,
    granted_requirements,
    read_requirement,
    versions_outside,
)
from policies.permissions import LintLevel, Permissions

PROFILES = Path(__file__).parents[2] / "policies" / "profiles"


def profile(*allow: str) -> PolicyProfile:
    local = load_profile((PROFILES / "local.toml").read_text("utf-8"), origin="local")
    return local.model_copy(update={"packages": PackageSettings(allow=allow)})


def problems(*packages: str, allow: tuple[str, ...]) -> list[str]:
    found = grant_problems(Permissions(packages=packages), profile(*allow))
    assert {problem.rule for problem in found} <= {"RP402"}
    assert all(problem.suggestion for problem in found)
    return [problem.message for problem in found]


@pytest.mark.parametrize(
    ("packages", "allow"),
    [
        ((), ()),
        (("numpy",), ("numpy",)),
        (("Scikit_Learn",), ("scikit-learn",)),
        (("pandas",), ("pandas>=2,<3",)),
        (("pandas>=2.1", "pandas<2.9"), ("pandas>=2,<3",)),
        (("pandas>=1",), ("pandas>=2",)),
        (("dask[array]",), ("dask[array,dataframe]",)),
        (("numpy == 2.*",), ("numpy",)),
    ],
)
def test_what_is_granted_has_no_problem(packages: tuple[str, ...], allow: tuple[str, ...]) -> None:
    assert problems(*packages, allow=allow) == []


@pytest.mark.parametrize(
    ("package", "allow", "told"),
    [
        ("numpy", (), "does not grant"),
        ("nunpy", ("numpy",), "does not grant"),
        ("pandas>=4", ("pandas>=2,<3",), "no version is both"),
        ("pandas==1.5.3", ("pandas!=1.5.3",), "no version is both"),
        ("dask[array]", ("dask",), "extra(s) array"),
        ("numpy; python_version > '3'", ("numpy",), "condition"),
        ("numpy===2.0", ("numpy",), "as text"),
        ("numpy @ https://example.com/numpy.whl", ("numpy",), "file or an address"),
        ("git+https://example.com/numpy", ("numpy",), "file or an address"),
        ("./numpy", ("numpy",), "file or an address"),
        ("../../wheels/numpy-2.0-py3-none-any.whl", ("numpy",), "file or an address"),
        ("..", ("numpy",), "file or an address"),
        ("", ("numpy",), "not a requirement"),
        ("-r requirements.txt", ("numpy",), "not a requirement"),
        ("--index-url=x", ("numpy",), "not a requirement"),
        ("numpy\n--pre", ("numpy",), "not a requirement"),
        ("numpy --hash=sha256:00", ("numpy",), "not a requirement"),
        ("numpy>=two", ("numpy",), "not a requirement"),
        ("numpy" + " " * 200, ("numpy",), "more than 200 characters"),
        ("\x1b[2Jnumpy", ("numpy",), "not a requirement"),
    ],
)
def test_what_is_not_granted_is_said(package: str, allow: tuple[str, ...], told: str) -> None:
    (message,) = problems(package, allow=allow)

    assert told in message
    assert message.isprintable()


def test_all_problems_come_at_once() -> None:
    assert len(problems("numpy", "a b", "scipy", "pandas", allow=("pandas",))) == 3


def test_two_ranges_of_one_package_must_meet() -> None:
    (message,) = problems("numpy<1", "numpy>2", allow=("numpy",))

    assert "twice" in message


def test_a_near_name_is_suggested() -> None:
    (problem,) = grant_problems(Permissions(packages=("matplotlb",)), profile("matplotlib"))

    assert "did you mean 'matplotlib'?" in problem.suggestion


def test_a_set_has_one_spelling() -> None:
    settings = PackageSettings(allow=("numpy", "pandas>=2"))
    one = granted_requirements(["Pandas >= 2.1", "numpy"], settings)

    assert one == granted_requirements(["numpy", "pandas>=2.1", "PANDAS"], settings)
    assert one == ("numpy", "pandas>=2,>=2.1")


@pytest.mark.parametrize("allow", [["a b"], ["numpy", "NumPy>=2"], ["x @ https://example.com"]])
def test_a_policy_that_cannot_be_understood_is_none(allow: list[str]) -> None:
    with pytest.raises(ValidationError, match="write"):
        PackageSettings(allow=tuple(allow))

    text = (PROFILES / "local.toml").read_text("utf-8")
    with pytest.raises(PolicyConfigError, match=r"packages\.allow"):
        load_profile(f"{text}\n[packages]\nallow = {allow!r}\n", origin="test")


def test_versions_that_came_along_are_held_to_the_policy() -> None:
    settings = PackageSettings(allow=("pandas", "numpy<2"))

    assert versions_outside(settings, {"pandas": "3.0", "numpy": "2.1", "six": "1.0"}) == (
        "numpy 2.1",
    )
    assert versions_outside(settings, {"numpy": "1.26.4"}) == ()


VERSIONS = [
    f"{major}.{minor}{end}" for major in range(4) for minor in range(3) for end in ("", "rc1")
]
CLAUSES = st.builds(
    "".join,
    st.tuples(st.sampled_from(["<", "<=", "==", "!=", ">", ">="]), st.sampled_from(VERSIONS)),
)
RANGES = st.lists(CLAUSES, max_size=3).map(",".join)


@given(RANGES, RANGES, st.sampled_from(VERSIONS))
def test_what_is_installed_is_in_both_ranges(policy: str, tool: str, version: str) -> None:
    settings = PackageSettings(allow=(f"numpy{policy}",))
    try:
        (granted,) = granted_requirements([f"numpy{tool}"], settings)
    except RequirementError:
        granted = "numpy!=0,==0"  # no version at all
    allowed, wanted = SpecifierSet(policy), SpecifierSet(tool)
    inside = read_requirement(granted).versions.contains(version, prereleases=True)

    assert inside == all(each.contains(version, prereleases=True) for each in (allowed, wanted))


@given(RANGES, RANGES)
def test_a_refused_range_has_no_version_of_the_policy(policy: str, tool: str) -> None:
    refused = problems(f"numpy{tool}", allow=(f"numpy{policy}",))
    assume(refused)

    both = SpecifierSet(policy) & SpecifierSet(tool)
    assert not [v for v in VERSIONS if both.contains(Version(v), prereleases=True)]


@given(st.text(max_size=60))
def test_any_text_is_judged_and_never_crashes(text: str) -> None:
    for message in problems(text, allow=("numpy",)):
        assert message


# The lint at L1.


def test_packages_ask_for_their_level() -> None:
    assert Permissions(packages=("numpy",)).lint_level is LintLevel.L1


@pytest.mark.parametrize(
    ("package", "code"),
    [
        ("numpy", "import numpy as np\nx = np.linalg.norm(np.array([1.0]))"),
        ("numpy>=2", "import numpy.random\nx = numpy.random.default_rng(1).normal()"),
        ("numpy", "from numpy import array, trace\nx = trace(array([[1]])).item()"),
        ("Pandas", "import pandas as pd\nx = pd.DataFrame({'a': [1]}).groupby('a').sum()"),
        (
            "scipy",
            "from scipy import signal\nimport scipy\nx = scipy.signal.convolve, signal.chirp",
        ),
        ("scikit-learn", "from sklearn.linear_model import LinearRegression"),
        ("Scikit.Learn", "import sklearn"),
        ("python-dateutil", "from dateutil.parser import parse"),
        ("pillow", "from PIL import Image\nx = Image.new('L', (1, 1))"),
        ("more-itertools", "import more_itertools"),
        (
            "matplotlib",
            "import matplotlib.pyplot as plt\n"  # noqa: ISC004  one source
            "from matplotlib import pyplot\n"
            "plt.rcParams['axes.grid'] = True\nfigure, axes = plt.subplots()\n"
            "axes.set_title('x')\nfigure.savefig('/tmp/output/plot.png')\npyplot.close(figure)",
        ),
    ],
)
def test_declared_packages_are_used_as_usual(package: str, code: str) -> None:
    assert errors(body(code), permissions={"packages": [package]}) == []


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("RP205", "import pandas"),
        ("RP202", "import subprocess"),
        ("RP201", "import os"),
        ("RP203", "from numpy import *"),
        ("RP208", "import numpy as np\nx = np.lib.os"),
        ("RP208", "import numpy\nx = numpy.ctypeslib.os.system"),
        ("RP208", "from numpy import sys"),
        ("RP208", "from numpy import lib\nx = lib.format.os.system('id')"),
        ("RP208", "import numpy as np\nx = getattr(np, 'sys')"),
        ("RP202", "import numpy.lib.format as f\nimport ctypes"),
        ("RP304", "import numpy._core"),
        ("RP304", "from numpy._core import multiarray"),
        ("RP304", "import numpy as np\nx = np._core"),
        ("RP304", "import numpy as np\nx = np.array([1])._private"),
        ("RP304", "import numpy as np\nx = np.array([1]).__array_interface__"),
        ("RP210", "import numpy as np\nx = [np]"),
        ("RP207", "import numpy as np\nnp.array = len"),
        ("RP306", "import numpy as np\nname = 'a'\nx = getattr(np, name)"),
        ("RP301", "import numpy\nx = eval('1')"),
    ],
)
def test_the_rules_of_l0_hold_on_packages(rule: str, code: str) -> None:
    assert rule in rules(body(code), permissions={"packages": ["numpy"]})


def test_a_package_for_the_network_needs_the_network() -> None:
    assert "RP206" in rules(body("import requests"), permissions={"packages": ["requests"]})


def test_a_package_that_is_not_declared_is_suggested_by_its_own_name() -> None:
    code = body("import numpy\nimport sklearn.svm")
    (finding,) = [
        f for f in findings(code, permissions={"packages": ["numpy"]}) if f.rule == "RP205"
    ]

    assert '"packages": ["numpy", "scikit-learn"]' in finding.suggestion
    assert errors(code, permissions={"packages": ["numpy", "scikit-learn"]}) == []


def test_packages_may_stand_beside_declared_modules() -> None:
    code = body("import os\nimport numpy as np\nx = np.zeros(os.cpu_count())")

    assert errors(code, permissions={"packages": ["numpy"], "imports": ["os"]}) == []


def test_an_import_of_unknown_origin_goes_to_the_package_nobody_knows() -> None:
    code = body("import odd")

    assert "RP214" in rules(code, permissions={"packages": ["own-name"]})
    assert "RP205" not in rules(code, permissions={"packages": ["own-name"]})
    # numpy is known, and known not to have it
    assert "RP205" in rules(code, permissions={"packages": ["numpy"]})
    # own_name is imported, so there is no doubt about what own-name brings
    assert "RP205" in rules(
        body("import odd\nimport own_name"), permissions={"packages": ["own-name"]}
    )


def test_a_package_that_is_not_imported_is_pointed_out() -> None:
    (finding,) = [
        f
        for f in findings(body("import numpy"), permissions={"packages": ["numpy", "pandas>=2"]})
        if f.rule == "RP211"
    ]

    assert "'pandas>=2'" in finding.message


def test_a_package_is_no_import_permission() -> None:
    (finding,) = [f for f in findings(permissions={"imports": ["numpy"]}) if f.rule == "RP213"]

    assert "permissions.packages" in finding.suggestion
