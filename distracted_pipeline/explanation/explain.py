"""The stage `gradcam`: which images of a variant are explained, by which network, and what is kept of it.

Every image is explained by the networks of the fold that held it out: what is shown and averaged is the mean over its
trainings, for the class that their mean probability says. A few are kept one by one, to be shown, among them flips of
every comparison that the variant takes part in (`flips`); many are averaged by driver and class. Reading the images
and running the networks is `passes`, the maps themselves are `gradcam`, the averages `means`, the columns `tables`.

    gradcam/<variant>/rows.parquet      one row per CAM that is shown; of a fused variant also each branch's share
    gradcam/<variant>/cams.npz          those CAMs, uint8 [row, h, w]; of a fused variant `mask_cams` beside `cams`
    gradcam/<variant>/driver_means.npz  mean CAM of the true class by driver and class, and by class
    gradcam/<variant>/left_out.json     instead of all these, where the network has no map: why there are no CAMs
    gradcam/<variant>/lift.parquet      CAM energy on each mask category over its area, beside that of permuted CAMs
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distracted_pipeline.advice import RUN
from distracted_pipeline.errors import DistractedError, NoMap
from distracted_pipeline.evaluation.checkpoint_facts import model_fingerprint, replicates
from distracted_pipeline.evaluation.predictions import Part, images_fingerprint, predictions_path, read_predictions
from distracted_pipeline.evaluation.tables_io import listed, listed_are_whole, to_table, write_table
from distracted_pipeline.explanation.branches import LogitSpread
from distracted_pipeline.explanation.flips import FLIPS, flips_of, partner_files, partners
from distracted_pipeline.explanation.maps import as_bytes, lift
from distracted_pipeline.explanation.means import LIFT_FILE, MEANS_FILE, CamMeans
from distracted_pipeline.explanation.passes import Plan, explain_rows
from distracted_pipeline.explanation.selection import choose, few_each
from distracted_pipeline.explanation.tables import CamRow, lift_column
from distracted_pipeline.files import atomic_path, write_json
from distracted_pipeline.fingerprints import INPUTS, file_digest, fingerprint, is_current
from distracted_pipeline.images.manifest import labelled, read_manifest
from distracted_pipeline.options import RunOptions
from distracted_pipeline.scopes import FOLDS, ORIGINAL_FOLD
from distracted_pipeline.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

    from distracted_pipeline.training.checkpoint import Trained

SAMPLE = 4
"""Images averaged per driver and class where the network has to run from the pixels, or from deep inside."""

ROWS_FILE = "rows.parquet"
CAMS_FILE = "cams.npz"

LEFT_OUT_FILE = "left_out.json"

CODE_VERSION = "11"
"""Raise it when the same predictions, networks and masks would give other files."""

IMAGES_PER_CLASS = 4
"""Right images of each class that are kept one by one, and as many confused ones."""


@dataclass(frozen=True)
class GradcamResult:
    """The CAMs of one variant.

    Attributes:
        rows: One per CAM. A right image has one row (target `predicted`, which is the true class), a confused one two.
        cams: uint8 [N, h, w], each scaled to its own maximum; of the image branch where there are two.
        mask_cams: The same of the mask branch, on its own grid; None for a variant that reads only one of the two.
        means: Averages over drivers and classes, and their lifts.
        averaged: Which images are in `means`, in words.
        image_share: Share of the image branch in the spread of the logits over the images in `means`, see
            `branches.LogitSpread`; None for a variant that reads only one of the two.
        mask_share: Share of the mask branch, likewise.
        folder: Where the files were written.
        missing: Sentences on what could not be explained, and why.
    """

    rows: list[CamRow]
    cams: np.ndarray
    mask_cams: np.ndarray | None
    means: CamMeans
    averaged: str
    image_share: float | None
    mask_share: float | None
    folder: Path
    missing: list[str]

    def table(self) -> "pa.Table":
        """Return the rows as a table, a column for each mask category's lift."""
        return to_table(CamRow, self.rows, [lift_column(name) for name in self.means.categories])


def gradcam_variant(
    settings: Settings,
    variant: str,
    options: RunOptions = RunOptions(),
    *,
    images_per_class: int = IMAGES_PER_CLASS,
) -> GradcamResult:
    """Explain images that a variant held out, with the networks of the fold that held them out; write and return it.

    Args:
        settings: Gives predictions, models, masks and the evaluation folder.
        variant: Variant name.
        options: Device, images at once, and who hears of progress.
        images_per_class: Right images, and as many confused ones, per class, to be kept one by one.

    Raises:
        NoMap: There is nothing to draw; that is noted in the place of CAMs.
        DistractedError: The variant has no usable predictions, or none of its folds has a checkpoint.
    """
    inputs = gradcam_inputs(settings, variant, images_per_class)
    left_out = gradcam_folder(settings, variant) / LEFT_OUT_FILE
    try:
        result = _explain(settings, variant, options, images_per_class)
    except NoMap as none:
        for name in (ROWS_FILE, CAMS_FILE, MEANS_FILE, LIFT_FILE):
            left_out.with_name(name).unlink(missing_ok=True)
        write_json(left_out, {INPUTS: inputs, "because": str(none)})
        raise
    left_out.unlink(missing_ok=True)
    _write(result, inputs)
    return result


def _explain(settings: Settings, variant: str, options: RunOptions, images_per_class: int) -> GradcamResult:
    from distracted_pipeline.training.checkpoint import load_trained

    dataset = settings.dataset
    parts, missing = _usable_parts(settings, variant)
    drivers = sorted({str(name) for part in parts for name in part.subject})
    flips = flips_of(settings, read_predictions(settings, [variant, *partners(settings, variant)]), variant)
    chosen = choose(parts, images_per_class, dataset.class_ids, flips)
    mask_of = _mask_reader(settings, drivers, missing)
    device = options.device_name()
    kept: list[tuple[int, str, CamRow, np.ndarray, np.ndarray | None]] = []
    means: CamMeans | None = None
    unmasked: set[str] = set()
    spread = LogitSpread()
    everything, seen = True, 0
    for i, part in enumerate(parts):
        place = {row: (at, kind) for at, (p, row, kind) in enumerate(chosen) if p == i}
        trainings = range(max(1, replicates(settings, variant, part.fold)))
        trained = [load_trained(settings, variant, part.fold, device, replicate) for replicate in trainings]
        plan = _plan(settings, trained[0], part)
        everything, seen = everything and plan.everything, seen + len(plan.averaged)
        averaged = set(plan.averaged.tolist())
        for found in explain_rows(settings, trained, plan, part, sorted(averaged | set(place)), set(place), options):
            row, pair = found.row, found.cams
            mask = mask_of(str(part.img[row]))
            if mask is None:
                unmasked.add(str(part.img[row]))
            if row in averaged:
                means = means or CamMeans(drivers, pair[1].shape, len(dataset.class_ids), dataset.category_names)
                means.add(str(part.subject[row]), int(part.true[row]), pair[1], mask, found.each, part.fold)
                if found.contributions is not None:
                    spread.add(part.fold, found.contributions)
            if row in place:
                at, kind = place[row]
                for t, target in enumerate(("predicted", "true")[: 1 + (kind == "confused")]):
                    of_masks = None if found.mask_cams is None else as_bytes(found.mask_cams[t])
                    about = _row(part, row, kind, target, pair[t], mask, dataset.category_names)
                    kept.append((at, target, about, as_bytes(pair[t]), of_masks))
    assert means is not None  # a part has rows, and some of each are averaged
    if unmasked:
        missing.append(f"{variant}: {len(unmasked)} explained images have no mask, so no lift, {min(unmasked)} first")
    kept.sort(key=lambda item: item[:2])
    mask_maps = [cam for *_, cam in kept if cam is not None]
    image_share, mask_share = spread.shares() or (None, None)
    result = GradcamResult(
        rows=[row for _, _, row, _, _ in kept],
        cams=np.stack([cam for *_, cam, _ in kept]),
        mask_cams=np.stack(mask_maps) if mask_maps else None,
        means=means,
        averaged=_in_words(parts, everything, seen, seen - int(means.counts.sum())),
        image_share=image_share,
        mask_share=mask_share,
        folder=gradcam_folder(settings, variant),
        missing=missing,
    )
    zero = sum(row.all_zero for row in result.rows)
    branches = ""
    if image_share is not None and mask_share is not None:
        branches = f"; of the logits' spread {image_share:.0%} is from the image and {mask_share:.0%} from masks"
    options.log(
        f"{variant}: {len(chosen)} images explained, {zero} of {len(kept)} CAMs all zero; averaged: "
        f"{result.averaged}{branches}"
    )
    return result


def gradcam_folder(settings: Settings, variant: str) -> Path:
    """Return where a variant's CAMs lie."""
    return settings.evaluation / "gradcam" / variant


def gradcam_inputs(settings: Settings, variant: str, images_per_class: int = IMAGES_PER_CLASS) -> str:
    """Return the fingerprint of all that a variant's CAMs depend on: predictions, networks, masks in force, code.

    Predictions of the variants that it is compared with are among them: flips between the two are explained by both.
    Loads no torch and opens no mask. Which taps are cached is not in it: they decide how many images are averaged.

    Raises:
        DistractedError: There is no manifest.
    """
    folds = {
        fold: (file_digest(path), model_fingerprint(settings, variant, fold))
        for fold in FOLDS
        if (path := predictions_path(settings, variant, fold)).is_file()
    }
    return fingerprint(
        CODE_VERSION,
        variant,
        (images_per_class, FLIPS),
        settings.dataset.class_ids,
        settings.dataset.category_names,
        images_fingerprint(settings),
        _masks_content(settings),
        folds,
        {
            name: [file_digest(predictions_path(settings, name, fold)) for fold in known]
            for name, known in partner_files(settings, variant).items()
        },
    )


def gradcam_current(settings: Settings, variant: str) -> bool:
    """Tell whether a variant's CAMs are there, whole, and made from predictions, networks and masks as they are now.

    Or whether it is noted that there are none.
    """
    try:
        inputs = gradcam_inputs(settings, variant)
    except (DistractedError, OSError):  # no manifest, a file that went away: whoever explains says so
        return False
    folder = gradcam_folder(settings, variant)
    if is_current([folder / LEFT_OUT_FILE], inputs):
        return True
    tables = (folder / name for name in (ROWS_FILE, LIFT_FILE))
    return all(is_current([path], inputs) for path in tables) and listed_are_whole(folder / ROWS_FILE)


def _masks_content(settings: Settings) -> str:
    """Return the fingerprint of the masks that labelled images have now; empty without a segmenter."""
    from distracted_pipeline.masks.cache import open_cache

    try:
        cache = open_cache(settings)
    except DistractedError:  # then there are no lifts, which the result says
        return ""
    return cache.content(sorted(set(labelled(read_manifest(settings))["subject"].to_pylist())))


def _usable_parts(settings: Settings, variant: str) -> tuple[list[Part], list[str]]:
    """Return the predictions whose checkpoints are there, and sentences on what is missing."""
    from distracted_pipeline.training.checkpoint import is_trained

    predictions = read_predictions(settings, [variant])
    parts = predictions.of(variant, "oof") or predictions.of(variant, "dev")
    missing = [*predictions.missing, *predictions.rejected]
    if not parts:
        raise DistractedError(f"{'; '.join(missing)}. Run `{RUN} --variant {variant}`.")
    untrained = [part.fold for part in parts if not is_trained(settings, variant, part.fold)]
    if untrained:
        missing.append(f"{variant}: no current checkpoint for fold{'s' * (len(untrained) > 1)} {', '.join(untrained)}")
    parts = [part for part in parts if part.fold not in untrained]
    if not parts:
        raise DistractedError(f"{missing[-1]}. Run `{RUN} --variant {variant}`.")
    return parts, missing


def _plan(settings: Settings, trained: "Trained", part: Part) -> Plan:
    """Return how to read a part: from what is cached for all of its drivers, the nearest to the map first."""
    from distracted_pipeline.features.frozen_pass import PIXELS
    from distracted_pipeline.features.taps import TapStore

    net = trained.net
    store = TapStore(settings, trained.config.model_name)
    drivers = sorted(set(part.subject.tolist()))
    useful = [tap for tap in (net.map_tap(), PIXELS) if tap and PIXELS in net.map_inputs]
    cached = (tap for tap in useful if not any(store.missing(driver, [tap]) for driver in drivers))
    tap = next(cached, None)
    everything = tap == "last_block" or PIXELS not in net.map_inputs
    averaged = np.arange(len(part.img)) if everything else few_each(part, SAMPLE)
    return Plan(tap, averaged, everything)


def _in_words(parts: Sequence[Part], everything: bool, averaged: int, empty: int) -> str:
    total = sum(len(part.img) for part in parts)
    words = f"all {total:,} held-out images"
    if not everything:
        words = f"{averaged:,} of {total:,} held-out images, up to {SAMPLE} of each driver and class"
    if any(part.fold == ORIGINAL_FOLD for part in parts):
        words += " of the original split, whose dev drivers also chose the epoch"
    return words + (f", less {empty:,} with an empty CAM" if empty else "")


def _row(
    part: Part, row: int, kind: str, target: str, cam: np.ndarray, mask: np.ndarray | None, categories: Sequence[str]
) -> CamRow:
    lifts = lift(cam, mask, categories) if mask is not None else {}
    return CamRow(
        img=str(part.img[row]),
        subject=str(part.subject[row]),
        true=int(part.true[row]),
        predicted=int(part.predicted[row]),
        fold=part.fold,
        target=target,
        kind=kind,
        all_zero=not cam.any(),
        lifts={lift_column(name): value for name, value in lifts.items()},
    )


def _mask_reader(settings: Settings, subjects: Sequence[str], missing: list[str]) -> Callable[[str], np.ndarray | None]:
    """Return what gives an image's mask, or None where it has none; no segmenter at all is said in `missing`."""
    from distracted_pipeline.masks.cache import open_cache

    try:
        cache = open_cache(settings)
    except DistractedError as error:
        missing.append(f"no lifts, because there are no masks: {error}")
        return lambda img: None
    present = {img for subject in subjects for img in cache.imgs(subject)}
    return lambda img: cache.mask(img) if img in present else None


def _write(result: GradcamResult, inputs: str) -> None:
    shares = {"image_share": result.image_share, "mask_share": result.mask_share}
    notes = {name: repr(share) for name, share in shares.items() if share is not None}
    result.means.write(result.folder, result.averaged, inputs)
    with atomic_path(result.folder / CAMS_FILE) as temporary, temporary.open("wb") as handle:
        if result.mask_cams is None:
            np.savez_compressed(handle, cams=result.cams)
        else:
            np.savez_compressed(handle, cams=result.cams, mask_cams=result.mask_cams)
    notes |= listed(result.folder, [CAMS_FILE, MEANS_FILE])
    write_table(result.folder / ROWS_FILE, result.table(), {INPUTS: inputs, **notes})
