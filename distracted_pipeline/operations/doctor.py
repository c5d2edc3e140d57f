"""`distracted doctor`: what is there, what is missing, what to type next.

Looks only; nothing here creates, downloads or repairs.
"""

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from distracted_pipeline.advice import DOCTOR, RUN
from distracted_pipeline.dataset import Dataset
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.scopes import FOLDS
from distracted_pipeline.settings import FOLDER_PREFIX, Settings, has_data

PACKAGES = ("dagster", "torch", "torchvision", "transformers", "mlflow", "pyarrow", "pandas", "pillow")

FREE_GIB_WANTED = 12.0
"""For masks, taps, checkpoints and reports of State Farm's full data, with room to spare."""

State = Literal["ok", "missing", "note"]
_MARKS: dict[State, str] = {"ok": "[ok]     ", "missing": "[missing]", "note": "[note]   "}


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Attributes:
        state: Whether it is fine, stops the pipeline, or is only worth knowing.
        topic: What was looked at.
        words: What was found.
        remedy: What to type or place, where something is missing.
    """

    state: State
    topic: str
    words: str
    remedy: str = ""


def examine(settings: Settings) -> str:
    """Return the whole examination as text; its last line is the next command."""
    about_data = [*_data(settings), *_weights(settings), *_progress(settings)]
    findings = [*_tools(), *_machine(settings), *_services(), *about_data]
    lines = [f"data root: {settings.data}"]
    for finding in findings:
        lines.append(f"{_MARKS[finding.state]} {finding.topic:<14} {finding.words}")
        if finding.remedy:
            lines.append(f"{'':<25}-> {finding.remedy}")
    lines.append(f"next: {_next(findings)}")
    return "\n".join(lines)


def _next(findings: list[Finding]) -> str:
    for finding in findings:
        if finding.state == "missing":
            return finding.remedy
    return "distracted ui"


def _tools() -> Iterator[Finding]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Finding("missing", name, "not installed", "pip install -c constraints.txt -e .")
    words = ", ".join(f"{name} {version}" for name, version in versions.items())
    yield Finding("ok", "tools", f"Python {platform.python_version()}, {words}")
    try:
        import torchvision  # noqa: F401  (a torchvision built for another torch fails here, with "nms does not exist")
    except (ImportError, RuntimeError) as error:
        yield Finding(
            "missing",
            "torchvision",
            f"{versions.get('torchvision')} does not fit torch {versions.get('torch')}: {str(error).splitlines()[0]}",
            "pip install -c constraints.txt --force-reinstall torch torchvision",
        )


def _machine(settings: Settings) -> Iterator[Finding]:
    import psutil
    import torch

    cores, memory = os.cpu_count(), psutil.virtual_memory().total / 2**30
    if torch.cuda.is_available():
        device = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    else:
        device = "no GPU (everything runs; masks with the default segmenter take seconds per image)"
    yield Finding("ok", "device", f"{device}; {cores} cores, {memory:.0f} GiB memory")
    anchor = next(p for p in (settings.data, *settings.data.parents) if p.exists())
    free = shutil.disk_usage(anchor).free / 2**30
    enough = free >= FREE_GIB_WANTED
    yield Finding(
        "ok" if enough else "note",
        "disk",
        f"{free:.0f} GiB free" + ("" if enough else f"; the full data wants about {FREE_GIB_WANTED:.0f} GiB"),
    )


def _services() -> Iterator[Finding]:
    """Look at the executor and at the database and cluster of `dagster.yaml`; on one machine with SQLite, silent."""
    from distracted_pipeline.operations.executors import DEFAULT, executor_from_environment
    from distracted_pipeline.operations.instance import dagster_home
    from distracted_pipeline.operations.service_errors import check_services

    try:
        name = executor_from_environment().name
        if name != DEFAULT:
            yield Finding("ok", "executor", name)
        for words in check_services(dagster_home()):
            yield Finding("ok", "service", f"{words}, answers")
    except DistractedError as error:
        yield Finding("missing", "service", str(error), f"mend what is named above, then type: {DOCTOR}")


def _data(settings: Settings) -> Iterator[Finding]:
    expected = _in_full(settings.dataset)
    if settings.manifest.exists():
        from distracted_pipeline.images.manifest import labelled, read_manifest

        table = read_manifest(settings)
        good = labelled(table)
        drivers = len(set(good["subject"].to_pylist()))
        classes = len(set(good["classname"].to_pylist()))
        bad = sum(status != "ok" for status in table["status"].to_pylist())
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
    elif has_data(settings.data):
        yield Finding("missing", "images", f"raw data is there, not yet read in ({expected})", RUN)
    else:
        remedy = (
            f"put Kaggle's zip or its tree (imgs/, driver_imgs_list.csv) into {settings.data} (other data: "
            "docs/datasets.md), or type: distracted demo"
        )
        yield Finding("missing", "images", f"no data yet ({expected})", remedy)


def _in_full(dataset: Dataset) -> str:
    """Return what the whole data set would have, as far as that is known."""
    known = ((dataset.frames, "frames"), (len(dataset.drivers), "drivers"), (len(dataset.class_ids), "classes"))
    return f"{dataset.name} in full: " + ", ".join(f"{count:,} {what}" for count, what in known if count)


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
        elif Path(name).is_dir():
            yield Finding("ok", role, f"local folder {name}")
        elif _in_hub_cache(name):
            yield Finding("ok", role, f"{name}, in the Hugging Face cache")
        else:
            yield Finding(
                "note",
                role,
                f"{name}, not on this machine yet: fetched from the Hugging Face hub at first use",
                f"without a network: place the model's folder here and set {variable}=PATH",
            )


def _is_here(name: str) -> bool:
    return Path(name.removeprefix(FOLDER_PREFIX)).is_dir() or _in_hub_cache(name)


def _in_hub_cache(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(name, "config.json"), str)
    except HFValidationError:  # a path that does not exist is no valid hub id either
        return False


def _progress(settings: Settings) -> Iterator[Finding]:
    if not settings.manifest.exists() or not all(_is_here(name) for name in (settings.backbone, settings.segmenter)):
        return  # the models' fingerprints say what is finished, and looking must not download them
    from distracted_pipeline.masks.cache import open_cache
    from distracted_pipeline.training.checkpoint import is_trained
    from distracted_pipeline.variants.config import load_catalogue

    subjects = settings.subjects()
    try:
        done = set(open_cache(settings).subjects_done()) & set(subjects)
        trained = [(v, f) for v in load_catalogue(settings) for f in FOLDS if is_trained(settings, v, f)]
    except DistractedError as error:
        yield Finding("missing", "models", str(error), "place the model, or set the variable named above")
        return
    total = len(load_catalogue(settings)) * len(FOLDS)
    for topic, have, want, unit in (
        ("masks", len(done), len(subjects), "subjects"),
        ("training", len(trained), total, "variants x folds"),
    ):
        complete = have >= want
        yield Finding(
            "ok" if complete else "missing",
            topic,
            f"{have} of {want} {unit}",
            "" if complete else f"{RUN}   (hours: {DOCTOR} --hours)",
        )
    page = settings.reports / "latest" / "index.html"
    yield Finding(
        "ok" if page.exists() else "missing",
        "report",
        str(page) if page.exists() else "none yet",
        "" if page.exists() else RUN,
    )
