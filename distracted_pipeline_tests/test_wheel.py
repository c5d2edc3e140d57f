"""The wheel: whatever the package reads beside its code is in it, and it runs away from the checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "distracted_pipeline"
_GENERATED = ("__pycache__", "*.egg-info", "*.pyc")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel, unpacked by pip into a folder; the checkout gets no build folder."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / PACKAGE, source / PACKAGE, ignore=shutil.ignore_patterns(*_GENERATED))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, "--target", str(target), str(source)], check=True, capture_output=True)
    return target


@pytest.mark.slow
def test_every_file_of_the_package_is_in_the_wheel(installed: Path) -> None:
    package = ROOT / PACKAGE
    wanted = {
        str(path.relative_to(package))
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and path.name[0] != "."
    }
    there = {str(path.relative_to(installed / PACKAGE)) for path in (installed / PACKAGE).rglob("*") if path.is_file()}
    assert not wanted - there
    assert not (installed / "distracted_pipeline_tests").exists()


@pytest.mark.slow
def test_catalogue_and_shipped_models_load_away_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    code = (
        "import distracted_pipeline\n"
        "from pathlib import Path\n"
        "from distracted_pipeline.settings import Settings\n"
        "from distracted_pipeline.variants.backbones import load_backbone\n"
        "from distracted_pipeline.variants.config import load_catalogue\n"
        "package = Path(distracted_pipeline.__file__).parent\n"
        "settings = Settings(data=Path('data'), backbone=str(package / 'demo' / 'weights' / 'backbone'))\n"
        "assert 'masks_fused' in load_catalogue(settings)\n"
        "print(package, load_backbone(settings).trunk.width)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed), "DAGSTER_HOME": ""}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == f"{installed / PACKAGE} 256"
