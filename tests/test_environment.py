"""The pins of pyproject.toml, environment.yml and constraints.txt agree."""

import tomllib

import yaml
from places import ROOT


def declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {*project["dependencies"], *project["optional-dependencies"]["dev"]}


def conda() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text())


def test_conda_installs_what_pyproject_declares():
    pip = next(entry["pip"] for entry in conda()["dependencies"] if isinstance(entry, dict))
    assert {line for line in pip if not line.startswith("--")} == declared()
    assert "--constraint constraints.txt" in pip
    assert "--editable ." in pip


def test_every_declared_package_is_pinned_alike_in_the_constraints():
    pinned = {line.split("==")[0].lower(): line for line in (ROOT / "constraints.txt").read_text().split()}
    for requirement in declared():
        name, version = requirement.split("==")
        assert pinned[name.split("[")[0].lower()].split("==")[1] == version


def test_conda_and_pyproject_want_the_same_python():
    python = next(entry for entry in conda()["dependencies"] if str(entry).startswith("python="))
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert f">={python.split('=')[1]}" in requires


def test_setup_installs_the_pinned_torch_first():
    torch = next(line for line in declared() if line.startswith("torch=="))
    assert torch in (ROOT / "Makefile").read_text()
