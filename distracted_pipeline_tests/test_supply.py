"""What is installed: every requirement is locked with a hash, at the version that was tested, above known holes."""

import configparser
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
LOCKS = {
    "requirements.lock": (),
    "requirements-dev.lock": ("dev",),
    "requirements-image.lock": ("k8s", "postgres"),
}
"""Lock -> the extras that are in it."""

_PIN = re.compile(
    r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]]*\])?==([^ ;\\\n]+)(.*(?:\n    --hash=sha256:[0-9a-f]{64}.*)*)",
    re.MULTILINE,
)


def pins(name: str) -> dict[str, tuple[str, int]]:
    """Return the version and the number of hashes of each package in a lock or in the constraints."""
    found = _PIN.findall((ROOT / name).read_text(encoding="utf-8"))
    return {package.lower().replace("_", "-"): (version, rest.count("--hash=")) for package, version, rest in found}


def requirements(*extras: str) -> list[Requirement]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    sections = [config["options"]["install_requires"], *(config["options.extras_require"][extra] for extra in extras)]
    return [Requirement(line) for section in sections for line in section.split("\n") if line]


@pytest.mark.parametrize(("lock", "extras"), LOCKS.items())
def test_every_requirement_is_locked_at_the_tested_version(lock: str, extras: tuple[str, ...]) -> None:
    locked, tested = pins(lock), pins("constraints.txt")
    for requirement in requirements(*extras):
        name = requirement.name.lower().replace("_", "-")
        assert name in locked, f"{name} is not in {lock}: type make lock"
        version, _ = locked[name]
        assert requirement.specifier.contains(version), f"{name} {version} in {lock}: type make lock"
        assert version == tested[name][0], f"{name}: {lock} and constraints.txt differ: type make lock"


@pytest.mark.parametrize("lock", [*LOCKS, "requirements-tools.lock"])
def test_every_line_of_a_lock_has_a_hash(lock: str) -> None:
    locked = pins(lock)
    assert len(locked) > 20
    assert not [name for name, (_, hashes) in locked.items() if not hashes]
    assert "://" not in (ROOT / lock).read_text(encoding="utf-8"), "a lock names no index"


def test_requirements_exclude_versions_with_known_holes() -> None:
    floors = {requirement.name: requirement.specifier for requirement in requirements()}
    holed = {"mlflow": "3.16.1", "pillow": "12.1.0", "filelock": "3.20.2", "jinja2": "3.1.5", "gitpython": "3.1.40"}
    assert not [name for name, version in holed.items() if floors[name].contains(version)]
