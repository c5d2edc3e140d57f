"""`distracted doctor`: what is there, what is missing, what to type next.

Looks only; nothing here creates, downloads or repairs.
"""

import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from distracted_pipeline.advice import DOCTOR, RUN, install
from distracted_pipeline.dataset import Dataset
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.feeder import cores
from distracted_pipeline.images.source import finish_demo
from distracted_pipeline.operations.models import is_here
from distracted_pipeline.scopes import FOLDS
from distracted_pipeline.settings import FOLDER_PREFIX, Settings, has_data

PACKAGES = ("dagster", "torch", "torchvision", "transformers", "mlflow", "pyarrow", "pandas", "pillow")

EXTRAS = {
    "fetch": ("kagglehub", "distracted fetch"),
    "lora": ("peft", "the variant lora"),
    "onnx": ("onnxscript", "distracted export"),
    "video": ("av", "distracted predict clip.mp4"),
}
"""Extra -> the module that shows that it is installed, and what wants it. `distracted masks export` wants none."""

FREE_GIB_WANTED = 12.0
"""For masks, taps, checkpoints and reports of State Farm's full data, with room to spare."""

State = Literal["ok", "missing", "to do", "note"]
_MARKS: dict[State, str] = {"ok": "[ok]     ", "missing": "[missing]", "to do": "[to do]  ", "note": "[note]   "}


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Attributes:
        state: Whether it is fine, stops everything, is made by the next run, or is only worth knowing.
        topic: What was looked at.
        words: What was found.
        remedy: What to type or place, where something is missing.
    """

    state: State
    topic: str
    words: str
    remedy: str = ""

    def lines(self) -> list[str]:
        """Return what the terminal shows."""
        said = [f"{_MARKS[self.state]} {self.topic:<14} {self.words}"]
        return [*said, f"{'':<25}-> {self.remedy}"] if self.remedy else said


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield findings as they are known, the quick ones first."""
    said = set()
    for part in (_tools, _disk, _data, _weights, _torch, _services, _tracking, _extras, _progress):
        try:
            for finding in part(settings):
                said.add(finding.words)
                yield finding
        except DistractedError as error:  # the rest can be looked at all the same
            if str(error) not in said:
                remedy = f"mend what is named above, then type: {DOCTOR}"
                yield Finding("missing", part.__name__.removeprefix("_"), str(error), remedy)


def next_command(findings: Sequence[Finding]) -> str:
    """Return what to type or place next: what stops everything comes first."""
    for state in ("missing", "to do"):
        for finding in findings:
            if finding.state == state:
                return finding.remedy
    return "distracted ui"


def _tools(_settings: Settings) -> Iterator[Finding]:
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            yield Finding("missing", name, "not installed", install())
    yield Finding("ok", "tools", ", ".join([f"Python {platform.python_version()}", *versions]))


def _extras(_settings: Settings) -> Iterator[Finding]:
    there = [extra for extra, (module, _) in EXTRAS.items() if find_spec(module)]
    exports = "masks as NPZ, PNG, COCO, FiftyOne (distracted masks export)"
    yield Finding("ok", "exports", exports + (", models as ONNX (distracted export)" if "onnx" in there else ""))
    if there:
        yield Finding("ok", "extras", ", ".join(there))
    for extra in (extra for extra in EXTRAS if extra not in there):
        yield Finding("note", "extras", f"{extra} is not installed: {EXTRAS[extra][1]} wants it", install(extra))


def _disk(settings: Settings) -> Iterator[Finding]:
    anchor = next(p for p in (settings.data, *settings.data.parents) if p.exists())
    free = shutil.disk_usage(anchor).free / 2**30
    if not os.access(anchor, os.W_OK):
        remedy = f"make {anchor} writable, or set DISTRACTED_DATA to a folder that is"
        yield Finding("missing", "disk", f"{anchor} is read-only: nothing can be made there", remedy)
        return
    enough = free >= FREE_GIB_WANTED
    yield Finding(
        "ok" if enough else "note",
        "disk",
        f"{free:.0f} GiB free" + ("" if enough else f"; the full data wants about {FREE_GIB_WANTED:.0f} GiB"),
    )


def _torch(_settings: Settings) -> Iterator[Finding]:
    """Load torch, which takes seconds, and say what it computes on."""
    try:
        import torch
        import torchvision  # noqa: F401  (one that was built for another torch fails here: "nms does not exist")
    except (ImportError, OSError, RuntimeError) as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        remedy = "pip install -c constraints.txt --force-reinstall torch torchvision"
        yield Finding("missing", "torch", f"torch and torchvision do not load, or do not fit: {why}", remedy)
        return
    import psutil

    memory, limit = psutil.virtual_memory().total / 2**30, memory_limit()
    words = f"{memory:.0f} GiB memory"
    if limit is not None and limit < memory:
        words = f"{limit:.1f} GiB memory (its control group's limit; the machine has {memory:.0f})"
    if torch.cuda.is_available():
        device = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    else:
        device = "no GPU (everything runs; masks with the default segmenter take seconds per image)"
    yield Finding("ok", "device", f"{device}; {cores()} cores, {words}")


def memory_limit(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Return the GiB that the control group of this process may take, None where nothing limits it."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # version 2, version 1
        try:
            text = (root / name).read_text().strip()
        except OSError:
            continue
        return int(text) / 2**30 if text.isdecimal() else None
    return None


def _services(_settings: Settings) -> Iterator[Finding]:
    """Look at the executor and at the database and cluster of `dagster.yaml`; on one machine with SQLite, silent."""
    from distracted_pipeline.operations.executors import DEFAULT, executor_from_environment
    from distracted_pipeline.operations.instance import dagster_home, home_trouble
    from distracted_pipeline.operations.service_errors import check_services

    try:
        if words := home_trouble(dagster_home()):
            yield Finding("note", "history", words, "results are kept as ever; DAGSTER_HOME names another folder")
            return
        name = executor_from_environment().name
        if name != DEFAULT:
            yield Finding("ok", "executor", name)
        for words in check_services(dagster_home()):
            yield Finding("ok", "service", f"{words}, answers")
    except DistractedError as error:
        yield Finding("missing", "service", str(error), f"mend what is named above, then type: {DOCTOR}")


def _tracking(settings: Settings) -> Iterator[Finding]:
    """Look at MLflow's database in the data root, which another version of MLflow may have made; else silent."""
    from distracted_pipeline.training.tracking import other_schema, upgrade

    if words := other_schema(settings):
        yield Finding("note", "MLflow", f"{words}: results wait for it", f"copy it, then type: {upgrade(settings)}")


def _data(settings: Settings) -> Iterator[Finding]:
    expected = _in_full(settings.dataset)
    if settings.manifest.exists():
        from distracted_pipeline.images.manifest import labelled, read_manifest
        from distracted_pipeline.images.problems import DROPPED, OK

        try:
            table = read_manifest(settings)
        except DistractedError as error:
            yield Finding("to do", "images", str(error), RUN)
            return
        good = labelled(table)
        drivers = len(set(good["subject"].to_pylist()))
        classes = len(set(good["classname"].to_pylist()))
        bad = sum(status not in (OK, DROPPED) for status in table["status"].to_pylist())
        unlabelled = sum(
            s == "ok" and not c
            for s, c in zip(table["status"].to_pylist(), table["classname"].to_pylist(), strict=True)
        )
        kind = "drawn, not photographed" if settings.synthetic else expected
        yield Finding(
            "ok", "images", f"{good.num_rows:,} labelled frames, {drivers} drivers, {classes} classes ({kind})"
        )
        yield Finding("ok", "", f"{unlabelled:,} unlabelled test frames")
        if bad:
            yield Finding("note", "", f"{bad} unusable; {settings.data / 'images_problems.json'} says which and why")
    elif command := finish_demo(settings.data):
        yield Finding("missing", "images", f"the demo in {settings.data} was not finished", command)
    elif has_data(settings.data):
        yield Finding("to do", "images", f"raw data is there, not yet read in ({expected})", RUN)
    else:
        remedy = (
            f"put Kaggle's zip or its tree (imgs/, driver_imgs_list.csv) into {settings.data} (other data: "
            "docs/datasets.md), or type: distracted demo"
        )
        where = f"{settings.data} holds no data" if settings.data.is_dir() else f"there is no folder {settings.data}"
        yield Finding("missing", "images", f"{where} ({expected})", remedy)


def _in_full(dataset: Dataset) -> str:
    """Return what the whole data set would have, as far as that is known."""
    known = ((dataset.frames, "frames"), (len(dataset.drivers), "drivers"), (len(dataset.class_ids), "classes"))
    return f"{dataset.name}{' in full' if dataset.frames else ''}: " + ", ".join(
        f"{count:,} {what}" for count, what in known if count
    )


def _weights(settings: Settings) -> Iterator[Finding]:
    for role, name, variable in (
        ("backbone", settings.backbone, "DISTRACTED_BACKBONE"),
        ("segmenter", settings.segmenter, "DISTRACTED_SEGMENTER"),
    ):
        if name.startswith(FOLDER_PREFIX):
            folder = Path(name.removeprefix(FOLDER_PREFIX))
            state: State = "ok" if folder.is_dir() else "missing"
            yield Finding(
                state,
                role,
                f"given masks in {folder}",
                "" if folder.is_dir() else f"create {folder}, or set {variable}",
            )
        elif is_here(name):
            where = f"local folder {name}" if Path(name).is_dir() else f"{name}, in the Hugging Face cache"
            yield _tried(settings, role, where, variable)
        else:
            yield Finding(
                "note",
                role,
                f"{name}, not on this machine yet: fetched from the Hugging Face hub at first use",
                f"without a network: place the model's folder here and set {variable}=PATH",
            )


def _tried(settings: Settings, role: str, where: str, variable: str) -> Finding:
    """Load a model that is on this machine and show it a frame: what it cannot do is said now, not in the run."""
    from distracted_pipeline.masks.loading import load_segmenter
    from distracted_pipeline.variants.backbones import load_backbone

    try:
        if role == "backbone":
            load_backbone(settings)
        else:
            load_segmenter(settings, "cpu", "fp32")
    except DistractedError as error:
        return Finding("missing", role, str(error), f"set {variable} to another model, then type: {DOCTOR}")
    return Finding("ok", role, where)


def _progress(settings: Settings) -> Iterator[Finding]:
    if not settings.manifest.exists() or not all(is_here(name) for name in (settings.backbone, settings.segmenter)):
        return  # the models' fingerprints say what is finished, and looking must not download them
    from distracted_pipeline.masks.cache import open_cache
    from distracted_pipeline.training.checkpoint import is_trained
    from distracted_pipeline.variants.config import load_catalogue

    subjects = settings.subjects()
    done = set(open_cache(settings).subjects_done()) & set(subjects)
    trained = [(v, f) for v in load_catalogue(settings) for f in FOLDS if is_trained(settings, v, f)]
    total = len(load_catalogue(settings)) * len(FOLDS)
    for topic, have, want, unit in (
        ("masks", len(done), len(subjects), "subjects"),
        ("training", len(trained), total, "variants x folds"),
    ):
        complete = have >= want
        yield Finding(
            "ok" if complete else "to do",
            topic,
            f"{have} of {want} {unit}",
            "" if complete else f"{RUN}   (hours: {DOCTOR} --hours)",
        )
    page = settings.reports / "latest" / "index.html"
    yield Finding(
        "ok" if page.exists() else "to do",
        "report",
        str(page) if page.exists() else "none yet",
        "" if page.exists() else RUN,
    )
