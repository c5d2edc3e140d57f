"""The contract of the disk, as a property: damage any derived file, change any setting, and one run makes it good.

On a whole data root, drawn and tiny. Each run is `distracted run` in a forked process: it has no memory but the disk.
What is asserted: exactly those steps ran that depend on what was damaged or changed, none failed, everything is as from
scratch, and one more run finds nothing to do.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from distracted_pipeline.checksums import CHECKSUM
from distracted_pipeline.demo.models import build_tiny_efficientnet
from distracted_pipeline.settings import load_settings
from distracted_pipeline.training import tracking
from distracted_pipeline_tests.damage import DAMAGES, damage
from distracted_pipeline_tests.forked import run_once, run_twice
from distracted_pipeline_tests.toy import write_short_toy_root

pytestmark = pytest.mark.faults

ALWAYS = ["images", "masks"]
"""Steps of every run: they look, and find nothing to do."""

REPORTED = ["class_accuracy", "report", "champion"]

FOLDS = ("original", "0", "1", "2", "3", "4")
SUBJECTS = ("ann", "ben", "cleo", "dora", "emil", "finn", "gus")

GROUPS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "a": {
        "images.parquet": [],
        "masks/*/subject=ann/part-00000.parquet": [],
        "features/*/subject=ann/last_block.npy": ["features ann"],
        "predictions/top_only/2.parquet": ["top_only fold 2"],
        "evaluation/champion.json": ["champion"],
        "reports/latest/index.html": ["report"],
    },
    "b": {
        "subjects.txt": [],
        "images_neighbours.parquet": [],
        "masks/*/subject=ben/index.json": [],
        "features/*/subject=cleo/rows.parquet": ["features cleo"],
        "predictions/masks_fused/original.parquet": ["masks_fused fold original"],
        "reports/latest/report.json": ["report"],
    },
    "c": {
        "images_problems.json": [],
        "masks/*/about.json": [],
        "features/*/subject=ben/pooled.npy": ["features ben"],
        "reports/latest/pictures/*.jpg": ["report"],
    },
    "d": {
        "images_state.parquet": [],
        "features/*/about.json": [f"features {subject}" for subject in SUBJECTS],
        "reports/latest/class_accuracy.csv": ["report"],
    },
    "e": {
        "models/top_only/0/0/model.safetensors": ["top_only fold 0", *REPORTED],
        "models/masks_fused/1/0/config.json": ["masks_fused fold 1", *REPORTED],
        "evaluation/gradcam/top_only/rows.parquet": ["gradcam top_only"],
        "evaluation/gradcam/masks_fused/cams.npz": ["gradcam masks_fused"],
    },
    "f": {
        "evaluation/gradcam/top_only/driver_means.npz": ["gradcam top_only", "report"],
        "evaluation/gradcam/masks_fused/lift.parquet": ["gradcam masks_fused", "report"],
    },
    "g": {"evaluation/confusion.npz": REPORTED},
    "h": {"evaluation/variants.parquet": REPORTED},
}
"""Every kind of derived file, and the steps that make it good, beside those of every run.

What is in one group is damaged at once: none of it makes stale what another one is.
"""

LIKE_VARIANTS = {f"evaluation/{name}.parquet" for name in ("class_accuracy", "calibration", "confusions", "drivers")}
"""Tables that go with another one; `evaluation/test_staleness.py` damages each."""


@dataclass(frozen=True)
class Ran:
    """What a run did: its steps, sorted, those that failed, what it said, and the steps of one more run after it."""

    steps: list[str]
    failed: dict[str, str]
    said: list[str]
    again: list[str]


@dataclass(frozen=True)
class Root:
    """A finished data root, a copy of it as it was, and its content."""

    data: Path
    kept: Path
    content: dict[str, object]

    def run(self, **settings: str) -> Ran:
        """Run everything that is missing, in a process of its own."""
        said, failed, again = run_twice({"DISTRACTED_DATA": str(self.data), **settings})
        return Ran(_steps(said), failed, said, _steps(again))

    def make(self, **settings: str) -> dict[str, str]:
        """Run as `run` does, but once; return what failed."""
        return run_once({"DISTRACTED_DATA": str(self.data), **settings})

    def restore(self) -> None:
        """Put back whatever is not as it was, and nothing else: images keep their stamps."""
        there = {path.relative_to(self.data) for path in self.data.rglob("*") if path.is_file() or path.is_symlink()}
        before = {path.relative_to(self.kept) for path in self.kept.rglob("*") if path.is_file() or path.is_symlink()}
        for name in there - before:
            (self.data / name).unlink()
        for name in before:
            old, new = self.kept / name, self.data / name
            if old.is_symlink():
                new.unlink(missing_ok=True)
                new.symlink_to(old.readlink())
            elif not new.is_file() or old.read_bytes() != new.read_bytes():
                new.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(old, new)


def _steps(said: list[str]) -> list[str]:
    lines = [re.sub(r"  \(\d+ of .*", "", line) for line in said]
    return sorted(line for line in lines if re.fullmatch(r"\w+( \w+)?( fold \w+)?", line))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Root:
    """Two variants, trained once on every fold, with everything that follows from them."""
    folder = tmp_path_factory.mktemp("faults")
    data = write_short_toy_root(folder / "data", replicates=1)
    tracking.open_client(load_settings({}, data))  # a copy, where a process of its own would migrate a fresh store
    assert Root(data, folder / "kept", {}).make() == {}
    shutil.copytree(data, folder / "kept", symlinks=True)
    return Root(data, folder / "kept", content(data))


@pytest.fixture
def root(made: Root) -> Iterator[Root]:
    """The finished data root, to be damaged; put back afterwards."""
    yield made
    made.restore()


def content(data: Path) -> dict[str, object]:
    """Return what every derived file says, less what no two runs have in common (times, run ids)."""
    found: dict[str, object] = {}
    for path in sorted(data.rglob("*")):
        name = path.relative_to(data).as_posix()
        derived = name.startswith(("images", "subjects.txt", "masks/", "features/", "models/", "predictions/"))
        derived = derived or name.startswith(("evaluation/", "reports/latest/"))
        if path.is_file() and derived and not path.name.startswith("."):
            found[name] = _said(path)
    latest = data / "reports" / "latest"
    found |= {f"reports/latest/{p.relative_to(latest).as_posix()}": _said(p) for p in latest.rglob("*") if p.is_file()}
    return found


VOLATILE = {"seconds", "train_seconds", "mlflow_run_id", "dagster_run_id", "report_id", "files", "inputs", "version"}


def _said(path: Path) -> object:
    if path.suffix == ".parquet":
        table = pq.read_table(path, partitioning=None)
        return table.drop_columns([name for name in table.column_names if name in {*VOLATILE, "stamp"}]).to_pydict()
    if path.suffix == ".json":
        return _stable(json.loads(path.read_text()))
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: (arrays[name].shape, arrays[name].tobytes()) for name in arrays.files}
    if path.suffix in (".html", ".csv"):
        text = re.sub(r"\w{8}(-\w{4}){3}-\w{12}|[0-9a-f]{8,}|[\d.]+", "#", path.read_text())  # run ids, hashes, numbers
        return re.sub(r"(# \w+ )*# (s|min|h)\b", "# s", text)
    return path.read_bytes()


def _stable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _stable(item) for key, item in value.items() if key not in VOLATILE | {CHECKSUM}}
    return [_stable(item) for item in value] if isinstance(value, list) else value


def differences(found: Mapping[str, object], expected: Mapping[str, object]) -> list[str]:
    return sorted(name for name in {*found, *expected} if repr(found.get(name)) != repr(expected.get(name)))


def first(data: Path, pattern: str) -> Path:
    return sorted(data.glob(pattern))[0]


def test_every_kind_of_file_is_in_the_list(made: Root) -> None:
    files = {path.relative_to(made.data).as_posix() for path in made.data.rglob("*") if path.is_file()}
    rooms = ("masks/", "features/", "models/", "predictions/", "evaluation/")
    shapes = {shape(name) for name in files if name.startswith(rooms) and not Path(name).name.startswith(".")}
    shapes -= {"masks/overlays/.jpg"}  # drawn when somebody looks; `masks/test_overlays.py` damages it
    listed = {*LIKE_VARIANTS, *(name for kinds in GROUPS.values() for name in kinds)}
    assert shapes == {shape(name) for name in listed if name.startswith(rooms)}


def shape(name: str) -> str:
    """Return a file's room and what it is there, whatever driver, variant or fold it is of."""
    last = name.rpartition("/")[2]
    if "overlays" in name:
        return "masks/overlays/.jpg"
    return f"{name.partition('/')[0]}/{'.parquet' if name.startswith('predictions') else last}"


def test_with_nothing_damaged_nothing_is_done(root: Root) -> None:
    for room in ("features", "models", "predictions", "evaluation"):
        for path in (root.data / room).rglob("*"):
            os.utime(path, (4_000_000_000, 4_000_000_000))  # times play no part
    ran = root.run()
    assert (ran.steps, ran.failed) == (ALWAYS, {})
    assert differences(content(root.data), root.content) == []


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("group", GROUPS)
def test_damaged_files_are_made_again_and_nothing_else_is(group: str, how: str, root: Root) -> None:
    for kind in GROUPS[group]:
        damage(first(root.data, kind), how)
    ran = root.run()
    assert ran.failed == {}
    assert ran.steps == sorted({*ALWAYS, *(step for steps in GROUPS[group].values() for step in steps)})
    assert differences(content(root.data), root.content) == []
    assert ran.again == ALWAYS


def trained(*variants: str) -> list[str]:
    """Every fold of some variants, and what follows from them."""
    return [*(f"{variant} fold {fold}" for variant in variants for fold in FOLDS), *REPORTED]


CAMS = ["gradcam masks_fused", "gradcam top_only"]
"""Each also explains the flips between the two, so both follow from the predictions of either."""

EVERYTHING = [*trained("top_only", "masks_fused"), *CAMS]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def other_maps(data: Path) -> dict[str, str]:
    (data / "other_maps").mkdir()
    for path in (data / "label_maps").glob("*.png"):
        Image.fromarray(np.roll(np.asarray(Image.open(path)), 8, 1)).save(data / "other_maps" / path.name)
    return {"DISTRACTED_SEGMENTER": "folder:other_maps"}


def other_backbone(data: Path) -> dict[str, str]:
    build_tiny_efficientnet(data / "backbones" / "other", seed=1)
    return {"DISTRACTED_BACKBONE": "backbones/other"}


def frame_behind_its_times(data: Path) -> dict[str, str]:
    path = data / "frames" / "front" / "ann" / "1.jpg"
    before, raw = path.stat(), bytearray(path.read_bytes())
    raw[-3] ^= 1  # the last coded byte: the image still decodes
    path.write_bytes(raw)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return {}


def frame_gone(data: Path) -> dict[str, str]:
    edit(data / "frames.txt", "side/gus/4.jpg\t3\tgus\tside\tday1\n", "")
    return {}


def words_of_a_class(data: Path) -> dict[str, str]:
    edit(data / "dataset.yaml", "drink: drinking", "drink: drinks")
    return {}


def label_of_a_frame(data: Path) -> dict[str, str]:
    edit(data / "frames.txt", "side/gus/4.jpg\t3\t", "side/gus/4.jpg\t2\t")
    return {}


def entry(old: str, new: str) -> Callable[[Path], dict[str, str]]:
    def change(data: Path) -> dict[str, str]:
        edit(data / "variants.yaml", old, new)
        return {}

    return change


def setting(name: str, value: str) -> Callable[[Path], dict[str, str]]:
    return lambda data: {name: value.format(data=data)}


CHANGES: Mapping[str, tuple[Callable[[Path], dict[str, str]], Sequence[str]]] = {
    "baseline": (setting("DISTRACTED_BASELINE", "masks_fused"), REPORTED),
    "drawn or photographed": (setting("DISTRACTED_SYNTHETIC", "0"), ["report"]),
    "tracking server": (setting("DISTRACTED_MLFLOW", "sqlite:///{data}/other.db"), ["champion", "report"]),
    "replicates": (setting("DISTRACTED_REPLICATES", "2"), EVERYTHING),
    "segmenter": (other_maps, [*trained("masks_fused"), *CAMS]),
    "backbone": (other_backbone, [*(f"features {subject}" for subject in SUBJECTS), *EVERYTHING]),
    "words of a class": (words_of_a_class, ["report"]),
    "words of a variant": (entry("top_only: {", "top_only: {label: Top, "), ["report"]),
    "recipe of a variant": (entry("top_only: {", "top_only: {gamma: 0.5, "), [*trained("top_only"), *CAMS]),
    "a variant dropped": (
        entry("masks_fused: {epochs: 1, control: top_only}", "masks_fused: null"),
        [*REPORTED, CAMS[1]],
    ),
    "label of a frame": (label_of_a_frame, EVERYTHING),
    "a frame, its size and time as before": (frame_behind_its_times, ["features ann", *EVERYTHING]),
    "a frame taken out": (frame_gone, ["features gus", *EVERYTHING]),
}
"""Every setting and input, changed, and the steps that depend on it, beside those of every run."""

MADE_ANEW = {"segmenter": ("models/masks_fused", "predictions/masks_fused", "evaluation", "reports")}
"""What is removed to compare with: all that an unchanged input can have left; else tables, CAMs and report."""


@pytest.mark.parametrize("change", CHANGES)
def test_what_depends_on_a_change_is_made_again_and_nothing_else_is(change: str, root: Root) -> None:
    apply, steps = CHANGES[change]
    settings = apply(root.data)
    ran = root.run(**settings)
    assert ran.failed == {}
    assert ran.steps == sorted([*ALWAYS, *steps])
    assert ran.again == ALWAYS
    found = content(root.data)
    for name in MADE_ANEW.get(change, ("evaluation", "reports")):
        shutil.rmtree(root.data / name)
    assert root.make(**settings) == {}
    left = differences(found, content(root.data))
    assert [name for name in left if change != "a variant dropped" or "gradcam/masks_fused" not in name] == []
