"""The stage `counterfactuals`: an object is erased, and the networks look again.

For each mask category and a few frames of each driver and class that show it: the object filled in from around it, an
equal region elsewhere filled in likewise (the control), and the object blurred. Networks that read masks get them to
match: the category's pixels become none, or those under the control region do; a blurred object keeps its mask.
The estimate is erased minus control, in probability of the true class: what the object does beyond what filling as
large a region does anywhere. Files are `looks`, filling is `erasing`, what follows for a class `effects`.

    why/counterfactuals/<variant>/cases.parquet  the frames that hang most on an object, with pictures (`tables.Case`)
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from distracted_pipeline.evaluation.predictions import Part
from distracted_pipeline.evaluation.tables_io import made, to_table, write_table
from distracted_pipeline.explanation.what_if import erasing
from distracted_pipeline.explanation.what_if.effects import Looks, fewest_trainings, means, tested
from distracted_pipeline.explanation.what_if.frames import Altered, Frame, Version, alter_frames, read_frames
from distracted_pipeline.explanation.what_if.looks import (
    Stage,
    folder_of,
    take_looks,
    variant_inputs,
    write_effects,
)
from distracted_pipeline.explanation.what_if.sampling import few_frames, seed_of, shown_categories
from distracted_pipeline.explanation.what_if.tables import Case, Effect
from distracted_pipeline.fingerprints import INPUTS
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings

if TYPE_CHECKING:
    from distracted_pipeline.training.checkpoint import Trained

ERASED, CONTROL, BLURRED = "erased", "control", "blurred"
CASES_FILE = "cases.parquet"
LEAST_AREA = 0.001
"""Share of the frame below which a category's pixels are specks, not an object."""
CLEAN = 0.1
"""A control that covers objects by more than this, on average, is none: the difference is shown and not tested."""
CASES = 3
"""Strongest frames kept with pictures, of each category."""
_PICTURE = (240, 180)


def counterfactuals(settings: Settings, variant: str, options: RunOptions = RunOptions()) -> list[Effect]:
    """Erase each category from frames of every held-out driver, ask a variant's networks, write and return the effects.

    Raises:
        DistractedError: The variant has no usable predictions or trainings, or there are no masks.
    """
    table, parts = take_looks(settings, STAGE, variant, options)
    looks = Looks.of(table, parts, len(settings.dataset.class_ids))
    effects = [effect for category in settings.dataset.category_names for effect in _effects(looks, variant, category)]
    inputs = variant_inputs(settings, STAGE, variant, [part.fold for part in parts])
    cases = _cases(settings, variant, table, parts, options)
    folder = folder_of(settings, STAGE.asset, variant)
    write_table(folder / CASES_FILE, to_table(Case, cases), {INPUTS: inputs})
    write_effects(settings, STAGE, variant, effects, inputs)
    return effects


def cases_path(settings: Settings, variant: str) -> Path:
    """Return where a variant's strongest cases lie."""
    return folder_of(settings, STAGE.asset, variant) / CASES_FILE


def _alter(settings: Settings, trained: "Trained", part: Part, options: RunOptions) -> Altered:
    from distracted_pipeline.masks.cache import open_cache

    areas = open_cache(settings).areas(part.img.tolist())
    rows, chosen = few_frames(part, settings.why_frames, shown_categories(areas, LEAST_AREA))

    def alter(frame: Frame) -> Iterator[Version]:
        for category in np.flatnonzero(chosen[frame.row]) + 1:
            yield from versions(frame, int(category), settings.dataset.category_names[category - 1])

    key = (STAGE.asset, part.fold)
    return alter_frames(settings, trained, part, rows, alter, options, key=key, need_masks=True)


def versions(frame: Frame, category: int, name: str) -> Iterator[Version]:
    """Yield a frame with a category erased, with an equal region elsewhere erased, and with the category blurred.

    Args:
        frame: With its mask.
        category: Its id in the mask.
        name: Its name.
    """
    assert frame.mask is not None
    shape = frame.pixels.shape[:2]
    region = erasing.region_of(frame.mask == category, shape)
    objects = erasing.touched(frame.mask > 0, shape)
    control = erasing.control_of(region, objects, seed_of(frame.img, name))
    shift = control.shift[0] / shape[0], control.shift[1] / shape[1]
    without, cut = frame.mask.copy(), frame.mask.copy()
    without[frame.mask == category] = 0
    cut[erasing.moved_ids(frame.mask, category, shift)] = 0
    yield Version(name, ERASED, erasing.filled(frame.pixels, region), without)
    yield Version(name, CONTROL, erasing.filled(frame.pixels, control.region), cut, control.on_objects)
    yield Version(name, BLURRED, erasing.blurred(frame.pixels, region), frame.mask)


def _effects(looks: Looks, variant: str, category: str) -> Iterator[Effect]:
    """Yield what erasing, and blurring, a category did to each class that shows it."""
    if (category, ERASED) not in looks.at:
        return
    erased, control = looks.at[category, ERASED], looks.at[category, CONTROL]
    before = looks.original[category, ERASED]  # versions of a frame stand in one order throughout
    found = tested(looks, erased, looks.p_true[erased] - looks.p_true[control])
    right, covered = looks.right, means(looks, erased, looks.on_objects[control])
    columns = {
        "before": means(looks, erased, looks.p_true[before]),
        "after": means(looks, erased, looks.p_true[erased]),
        "control": means(looks, erased, looks.p_true[control]),
        "delta": found.contrast.delta,
        "low": found.contrast.low,
        "high": found.contrast.high,
        "p": np.where(covered <= CLEAN, found.p, np.nan),
        "lost": means(looks, erased, (right[before] & ~right[erased]).astype(float)),
        "lost_control": means(looks, erased, (right[before] & ~right[control]).astype(float)),
        "on_objects": covered,
    }
    yield from rows_of(looks, variant, category, ERASED, found.frames, found.drivers, columns)
    soft = looks.at[category, BLURRED]
    change = tested(looks, soft, looks.p_true[soft] - looks.p_true[before])
    columns = {
        "before": means(looks, soft, looks.p_true[before]),
        "after": means(looks, soft, looks.p_true[soft]),
        "delta": change.contrast.delta,
        "low": change.contrast.low,
        "high": change.contrast.high,
        "p": change.p,
        "lost": means(looks, soft, (right[before] & ~right[soft]).astype(float)),
    }
    yield from rows_of(looks, variant, category, BLURRED, change.frames, change.drivers, columns)


def rows_of(
    looks: Looks,
    variant: str,
    about: str,
    version: str,
    frames: np.ndarray,
    drivers: np.ndarray,
    columns: dict[str, np.ndarray],
) -> Iterator[Effect]:
    """Yield a row of each class that has frames, from columns by class."""
    trainings = fewest_trainings(looks)
    for k in np.flatnonzero(frames):
        known = {"variant": variant, "class_id": k, "about": about, "version": version, "trainings": trainings}
        counts = {"frames": frames[k], "drivers": drivers[k]}
        yield made(Effect, known | counts | {name: values[k] for name, values in columns.items()})


def _cases(settings: Settings, variant: str, table: pa.Table, parts: Sequence[Part], options: RunOptions) -> list[Case]:
    """Return the frames of each category whose answer hangs most on it, right while it is there, one of each driver."""
    from distracted_pipeline.training.checkpoint import load_trained

    frame = table.select(["img", "subject", "true", "about", "version", "p_true"]).to_pandas()
    mean = frame.groupby(["img", "subject", "true", "about", "version"])["p_true"].mean().unstack("version")
    original = mean["original"].dropna().droplevel("about")
    kept = mean.drop(columns="original").dropna(subset=[ERASED, CONTROL]).reset_index()
    if kept.empty:
        return []
    kept["before"] = original.reindex(list(zip(kept["img"], kept["subject"], kept["true"], strict=True))).to_numpy()
    kept["fall"] = kept[CONTROL] - kept[ERASED]
    kept = kept.sort_values(["fall", "img"], ascending=[False, True])
    best = kept.drop_duplicates(["about", "subject"]).groupby("about").head(CASES)
    found, device = [], options.device_name()
    for part in parts:
        rows = best[best["img"].isin(part.img.tolist())]
        if rows.empty:
            continue
        trained = load_trained(settings, variant, part.fold, device)
        places = {str(img): i for i, img in enumerate(part.img)}
        wanted = sorted({places[img] for img in rows["img"]})
        frames = {seen.img: seen for seen in read_frames(settings, trained, part, wanted, masks=True)}
        for row in rows.to_dict("records"):
            found.append(_case(settings, frames[row["img"]], row, reads_pixels=bool(trained.config.taps)))
    return sorted(found, key=lambda case: (case.about, case.p_erased - case.p_control, case.img))


def _case(settings: Settings, frame: Frame, row: Mapping[Any, Any], *, reads_pixels: bool) -> Case:
    categories = settings.dataset.category_names
    shown = {v.name: v for v in versions(frame, categories.index(row["about"]) + 1, row["about"])}
    pictures = {
        name: _jpeg(settings, version.pixels if reads_pixels else None, version.mask)
        for name, version in (
            ("original", Version("", "original", frame.pixels, frame.mask)),
            ("erased", shown[ERASED]),
            ("control", shown[CONTROL]),
        )
    }
    return made(
        Case,
        {
            "img": row["img"],
            "subject": row["subject"],
            "true": row["true"],
            "about": row["about"],
            "p_original": row["before"],
            "p_erased": row[ERASED],
            "p_control": row[CONTROL],
            **pictures,
        },
    )


def _jpeg(settings: Settings, pixels: np.ndarray | None, mask: np.ndarray | None) -> bytes:
    """Return what a network saw as a JPEG: its pixels, or the mask in colour where it reads no pixels."""
    from PIL import Image

    from distracted_pipeline.masks.overlays import overlay

    if pixels is None:
        assert mask is not None
        picture = overlay(np.full((*mask.shape, 3), 255, np.uint8), mask, settings.dataset.categories)
        picture = picture.resize(_PICTURE, Image.Resampling.NEAREST)
    else:
        picture = Image.fromarray(pixels).resize(_PICTURE, Image.Resampling.BILINEAR)
    data = io.BytesIO()
    picture.save(data, format="JPEG", quality=80)
    return data.getvalue()


STAGE = Stage("counterfactuals", "1: " + erasing.METHOD, _alter, (CASES_FILE,))
