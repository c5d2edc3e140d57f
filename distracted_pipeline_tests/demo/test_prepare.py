"""The demo's data root: complete with its models, and left alone the second time."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from distracted_pipeline.demo import dataset, story
from distracted_pipeline.demo.prepare import prepare_demo
from distracted_pipeline.demo.shipped import FILES, shipped
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.masks.identity import segmenter_fingerprint
from distracted_pipeline.operations import doctor
from distracted_pipeline.operations.run import run_missing
from distracted_pipeline.settings import load_settings


def quiet(line: str) -> None:
    """Log nothing."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo of 30 frames."""
    root = tmp_path_factory.mktemp("demo") / "data"
    prepare_demo(root, drivers=3, frames=1, seed=0, log=quiet)
    return root


def test_both_models_lie_in_the_root_and_a_second_call_changes_nothing(root: Path) -> None:
    settings = load_settings({}, data=root)
    for folder, model in ((settings.segmenter, "segmenter"), (settings.backbone, "backbone")):
        for name in FILES:
            assert (Path(folder) / name).read_bytes() == (shipped(model) / name).read_bytes()  # type: ignore[arg-type]
    before = segmenter_fingerprint(settings)
    changed = {path: path.stat().st_mtime_ns for path in root.rglob("*.safetensors")}
    prepare_demo(root, drivers=3, frames=1, seed=0, log=quiet)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*.safetensors")} == changed
    assert segmenter_fingerprint(settings) == before


def test_a_damaged_copy_is_replaced(root: Path) -> None:
    copy = Path(load_settings({}, data=root).segmenter) / "model.safetensors"
    copy.write_bytes(b"half")
    prepare_demo(root, drivers=3, frames=1, seed=0, log=quiet)
    assert copy.read_bytes() == (shipped("segmenter") / "model.safetensors").read_bytes()


def test_a_demo_that_was_killed_says_so_in_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "data"
    with monkeypatch.context() as patch:
        patch.setattr(dataset, "_draw", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare_demo(root, drivers=3, frames=1, seed=7, log=quiet)
    settings = load_settings({}, data=root)
    told = f"this demo was not finished. Go on with it: distracted demo --data {root} --drivers 3 --frames 1 --seed 7"
    for command in (lambda: run_missing(settings, log=quiet), lambda: ingest(settings, log=quiet)):
        with pytest.raises(DistractedError, match=told):
            command()
    assert told in CliRunner().invoke(story.main, ["--data", str(root)]).output
    (found,) = doctor._data(settings)
    assert (found.state, found.remedy) == ("missing", told.partition(": ")[2])
    assert (Path(settings.segmenter).is_absolute(), Path(settings.backbone).is_absolute()) == (True, True)


def killed(*_: object) -> None:
    """End as kill -9 does: with nothing put in order."""
    raise KeyboardInterrupt
