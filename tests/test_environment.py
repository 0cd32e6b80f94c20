"""The packages that pyproject.toml declares, the pins of constraints.txt, environment.yml and the Makefile agree."""

import re
import tomllib

import yaml
from packaging.requirements import Requirement
from packaging.version import Version
from places import ROOT

import spectron
from spectron.tracking.provenance import package_versions

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(line.lower().split("==") for line in (ROOT / "constraints.txt").read_text().split())


def name_of(requirement: Requirement) -> str:
    return re.sub(r"[-_.]+", "-", requirement.name).lower()


def declared() -> list[Requirement]:
    """All requirements except the references from one extra to others."""
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    found = [Requirement(line) for group in groups for line in group]
    return [requirement for requirement in found if name_of(requirement) != PROJECT["name"]]


def conda() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text())


def test_package_and_pyproject_agree_on_name_and_version():
    assert (PROJECT["name"], PROJECT["version"]) == (spectron.DISTRIBUTION, spectron.__version__)


def test_provenance_covers_core_and_extras():
    development = {name_of(Requirement(line)) for line in PROJECT["optional-dependencies"]["dev"]}
    recorded = {re.sub(r"[-_.]+", "-", name).lower() for name in package_versions()}
    assert recorded == {name_of(requirement) for requirement in declared()} - development | {"python", "spectron"}


def test_every_pin_is_within_declared_range():
    pins = {re.sub(r"[-_.]+", "-", name): version for name, version in PINS.items()}
    for requirement in declared():
        assert Version(pins[name_of(requirement)]) in requirement.specifier, str(requirement)


def test_only_constraints_pin_exactly():
    assert not [name_of(r) for r in declared() if any(part.operator == "==" for part in r.specifier)]


def test_every_range_has_both_bounds():
    for requirement in declared():
        assert {">=", "<"} == {part.operator for part in requirement.specifier}, str(requirement)


def test_extra_all_includes_every_other_extra():
    extras = PROJECT["optional-dependencies"]
    [everything] = [Requirement(line) for line in extras["all"]]
    assert everything.extras == {*extras} - {"all", "dev"}


def test_core_needs_no_package_of_an_extra():
    core = {name_of(Requirement(line)) for line in PROJECT["dependencies"]}
    assert not core & {"resemblyzer", "flashlight-text", "webrtcvad", "setuptools", "speechbrain", "torchaudio", "peft"}


def test_conda_and_make_install_the_same():
    pip = next(entry["pip"] for entry in conda()["dependencies"] if isinstance(entry, dict))
    assert "--editable .[all,dev]" in pip
    assert "--constraint constraints.txt" in pip
    makefile = (ROOT / "Makefile").read_text()
    assert "--constraint constraints.txt --editable '.[all,dev]'" in makefile
    torch = f"torch=={PINS['torch']}"
    assert torch in pip
    assert torch in makefile, "torch is installed first"


def test_conda_and_pyproject_want_the_same_python():
    python = next(entry for entry in conda()["dependencies"] if str(entry).startswith("python="))
    assert f">={python.split('=')[1]}" in PROJECT["requires-python"]
