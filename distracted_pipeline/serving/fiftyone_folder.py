"""A folder that FiftyOne loads: frames, labels, masks, and what each variant answers. Nothing of FiftyOne is needed.

Belongs here: the layout and its fields. It is what FiftyOne's importer of `FiftyOneDataset` reads where `metadata.json`
names no `version`: samples as JSON, in which file names are relative; any FiftyOne from 0.8 on reads it. The same facts
stand in `samples.csv` for everything else, and `croissant.json` describes both.
"""

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from distracted_pipeline.advice import RUN
from distracted_pipeline.dataset import Dataset
from distracted_pipeline.evaluation.predictions import Predictions, read_predictions
from distracted_pipeline.files import atomic_path, create_folder, write_text
from distracted_pipeline.fingerprints import fingerprint
from distracted_pipeline.images.archive import SEPARATOR
from distracted_pipeline.images.decode import ImageReader
from distracted_pipeline.images.manifest import class_positions, data_fingerprint, labelled, read_manifest
from distracted_pipeline.masks.cache import MaskCache, open_cache
from distracted_pipeline.masks.croissant import (
    CROISSANT,
    columns,
    file_object,
    file_set,
    listed,
    mask_ids,
    pictures,
    write_croissant,
)
from distracted_pipeline.masks.export_folders import begin
from distracted_pipeline.masks.exports import contents, each_mask, save_png
from distracted_pipeline.progress import Log, Progress
from distracted_pipeline.scopes import CROSS_FOLDS, ORIGINAL_FOLD
from distracted_pipeline.settings import Settings

DATA: Final = "data"
MASKS: Final = "fields/masks"
"""FiftyOne takes folders below `fields` for files of the field of that name, and their paths as relative."""

SAMPLES: Final = "samples.json"
TABLE: Final = "samples.csv"
METADATA: Final = "metadata.json"

SOURCES: Final[Mapping[str, tuple[str, ...]]] = {"oof": CROSS_FOLDS, "original": (ORIGINAL_FOLD,)}
"""Prefix of a field of answers -> folds whose held-out answers it holds: no image is answered twice within one."""

Answers = dict[str, dict[str, tuple[int, float]]]
"""Field -> image -> position of the likeliest class, and its probability."""


def export_fiftyone(settings: Settings, folder: Path, log: Log = print) -> int:
    """Write the labelled frames with all that is known of them; return how many they are.

    Frames are hard links to the originals (across file systems symbolic ones, where neither works copies); those that
    lie in a zip are written out. What a killed export left is kept.

    Args:
        settings: Where the data lies.
        folder: Made where it is missing.
        log: Hears of progress, and of what is not there yet.

    Raises:
        DistractedError: There is no manifest, a frame cannot be read, or the disk refuses.
    """
    images, cache = labelled(read_manifest(settings)), open_cache(settings)
    names: list[str] = images["img"].to_pylist()
    frames, masks = [folder / DATA / img for img in names], [folder / MASKS / f"{img}.png" for img in names]
    inputs = fingerprint(data_fingerprint(images), contents("fiftyone", cache))
    begin(folder, inputs, (folder / SAMPLES, *frames, *masks))
    _link(settings, images["path"].to_pylist(), frames, log)
    masked = _draw(cache, folder / MASKS, set(names), log)
    predictions = read_predictions(settings)
    for line in (*predictions.rejected, *predictions.incomplete):
        log(f"left out: {line}")
    answers = _answers(predictions)
    if not answers:
        log(f"no predictions yet; make them with: {RUN}")
    write_text(folder / METADATA, json.dumps(_metadata(settings), indent=2) + "\n")
    _write_table(settings.dataset, folder / TABLE, images, masked, answers)
    _describe(settings, folder, answers)
    _write_samples(settings.dataset, folder / SAMPLES, images, masked, answers)  # last: from here on it can be loaded
    return len(names)


def _link(settings: Settings, paths: Sequence[str], targets: Sequence[Path], log: Log) -> None:
    progress = Progress(len(paths), "frames", log)
    create_folder(targets[0].parent)
    with ImageReader(settings.data) as reader:
        for path, target in zip(paths, targets, strict=True):
            if not target.is_file():
                target.unlink(missing_ok=True)  # a link to nowhere
                if SEPARATOR in path or not _linked((settings.data / path).resolve(), target):
                    with atomic_path(target) as temporary:
                        temporary.write_bytes(reader.bytes(path))
            progress.advance()


def _linked(original: Path, target: Path) -> bool:
    for link in (os.link, os.symlink):
        try:
            link(original, target)
            return True
        except OSError:  # another file system, or one without such links
            continue
    return False


def _draw(cache: MaskCache, folder: Path, wanted: set[str], log: Log) -> set[str]:
    """Write the masks of the wanted images; return which have one."""
    there: set[str] = set()

    def write(img: str, mask: np.ndarray) -> None:
        if img in wanted:
            there.add(img)
            path = folder / f"{img}.png"
            if not path.is_file():
                save_png(path, mask)

    each_mask(cache, write, folder, log)
    if len(there) < len(wanted):
        log(f"{len(wanted) - len(there):,} of {len(wanted):,} frames have no mask yet; make them with: {RUN}")
    return there


def _answers(predictions: Predictions) -> Answers:
    """Return what the trainings of each variant answer together, by their mean probabilities."""
    found: Answers = {}
    for (variant, fold), part in predictions.parts.items():
        source = next(name for name, folds in SOURCES.items() if fold in folds)
        sure = zip(part.img.tolist(), part.predicted.tolist(), part.mean.max(1).tolist(), strict=True)
        found.setdefault(f"{source}_{variant}", {}).update({img: (k, share) for img, k, share in sure})
    return found


def _metadata(settings: Settings) -> dict[str, Any]:
    dataset = settings.dataset
    targets = {str(k): name for k, name in enumerate(dataset.category_names, start=1)}
    info = {
        "description": f"{dataset.name}: frames, masks, and answers for drivers that a training never saw",
        "default_classes": [dataset.class_label(k) for k in range(len(dataset.class_ids))],
        "default_mask_targets": targets,
    }
    return {"name": dataset.name, "media_type": "image", "info": info}


def _write_samples(dataset: Dataset, path: Path, images: pa.Table, masked: set[str], answers: Answers) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
        handle.write('{"samples": [')
        for number, sample in enumerate(_samples(dataset, images, masked, answers)):
            handle.write(("," if number else "") + "\n" + json.dumps(sample))
        handle.write("\n]}\n")


def _samples(dataset: Dataset, images: pa.Table, masked: set[str], answers: Answers) -> Iterator[dict[str, Any]]:
    for row, true in zip(images.to_pylist(), class_positions(images, dataset).tolist(), strict=True):
        img = row["img"]
        size = {"width": row["width"], "height": row["height"], "size_bytes": row["bytes"], "mime_type": "image/jpeg"}
        facts = {name: row[name] for name in ("split", "camera", "session") if row[name]}
        sample = {
            "filepath": f"{DATA}/{img}",
            "_media_type": "image",
            "tags": [row["split"]] if row["split"] else [],
            "metadata": {"_cls": "ImageMetadata", **size},
            "driver": row["subject"],
            "fold": row["fold"],
            **facts,
            "ground_truth": {"_cls": "Classification", "label": dataset.class_label(true)},
        }
        if img in masked:
            sample["masks"] = {"_cls": "Segmentation", "mask_path": f"{MASKS}/{img}.png"}
        for field, of in answers.items():
            if img in of:
                k, share = of[img]
                sample[field] = {"_cls": "Classification", "label": dataset.class_label(k), "confidence": share}
        yield sample


def _columns(answers: Answers) -> list[tuple[str, str, str]]:
    """Return columns of the table, their types and what they mean."""
    first = [
        ("img", "sc:Text", "The name of the image."),
        ("class", "sc:Text", "The id of its class, as labelled."),
        ("driver", "sc:Text", "Who is in it. Frames of one driver are near-duplicates: never split them."),
        ("split", "sc:Text", "Part of the data set's own split: train, dev or test."),
        ("fold", "sc:Integer", "Which of the driver-disjoint folds holds it out."),
        ("mask", "sc:Text", "File of its mask; empty without one."),
    ]
    for field in answers:
        words = f"{field}: the class that trainings which never saw the driver find likeliest together"
        first += [(field, "sc:Text", f"{words}; empty without an answer."), (f"{field}_p", "sc:Float", "How likely.")]
    return first


def _write_table(dataset: Dataset, path: Path, images: pa.Table, masked: set[str], answers: Answers) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(name for name, _, _ in _columns(answers))
        kept = images.select(["img", "classname", "subject", "split", "fold"]).to_pylist()
        for img, *facts in (tuple(row.values()) for row in kept):
            said: list[str] = []
            for of in answers.values():
                said += [dataset.class_ids[of[img][0]], f"{of[img][1]:.6f}"] if img in of else ["", ""]
            writer.writerow((img, *facts, f"{MASKS}/{img}.png" if img in masked else "", *said))


def _describe(settings: Settings, folder: Path, answers: Answers) -> None:
    dataset, table = settings.dataset, folder / TABLE
    frame, mask = "A frame.", "Its mask: category ids, 0 for none."
    distribution = [
        file_object(table, "text/csv", "One row for each frame."),
        file_set("frames", f"{DATA}/*", "image/jpeg", frame),
        file_set("masks", f"{MASKS}/*.png", "image/png", mask),
    ]
    classes = listed("classes", list(zip(dataset.class_ids, dataset.class_names, strict=True)), "What drivers do.")
    records = [
        columns(table, _columns(answers), "Frames with label, driver and the variants' answers."),
        pictures("frames", frame),
        pictures("masks", mask, ".png"),
        classes,
        mask_ids(dataset.categories),
    ]
    what = f"Frames of {dataset.name} with labels, masks and answers of the variants."
    write_croissant(settings, folder / CROISSANT, what, distribution, records)
