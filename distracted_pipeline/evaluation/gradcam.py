"""Grad-CAM: where a variant looked for the class it predicted, and for the class it should have.

`closed_form`, `by_gradient` and `cams` are plain batch functions for notebooks; `gradcam_variant` is the stage:
which images, their CAMs and what share of the CAM falls on each mask category. Drawing belongs to `reports`.

Method: the last map before pooling times the gradient of a class score, summed over channels, negative parts
dropped. Where a head pools by mean, the gradient is the same everywhere and this is Grad-CAM (Selvaraju et al., ICCV
2017) to the letter. Where it does not, as in the mask head, Grad-CAM's average over positions is wrong and mostly
empty, and the product per position (HiResCAM, Draelos and Carin 2020) is what the score was made of.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.nn import functional

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.predictions import Part, read_predictions
from distracted_pipeline.files import atomic_path
from distracted_pipeline.progress import Progress
from distracted_pipeline.settings import Settings
from distracted_pipeline.vocabulary import CLASS_IDS, MASK_CATEGORIES

if TYPE_CHECKING:
    from pathlib import Path

    from distracted_pipeline.variants.networks import VariantNet

BATCH = 8
LIFTS = {name: f"lift_{name.replace(' ', '_')}" for name in MASK_CATEGORIES}
"""Column of each mask category's lift."""

SCHEMA = pa.schema(
    [
        ("img", pa.string()),
        ("subject", pa.string()),
        ("true", pa.int8()),
        ("predicted", pa.int8()),
        ("fold", pa.string()),
        ("target", pa.string()),
        ("kind", pa.string()),
        ("all_zero", pa.bool_()),
        *((column, pa.float64()) for column in LIFTS.values()),
    ]
)


@dataclass(frozen=True)
class GradcamResult:
    """The CAMs of one variant.

    Attributes:
        rows: One per CAM, columns of `SCHEMA`. A right image has one row (target `predicted`, which is the true class),
            a confused one two.
        cams: uint8 [N, h, w], each scaled to its own maximum.
        folder: Where `rows.parquet` and `cams.npz` were written.
        missing: Sentences on what could not be explained, and why.
    """

    rows: pa.Table
    cams: np.ndarray
    folder: "Path"
    missing: list[str]


def closed_form(weights: Tensor, activation: Tensor) -> Tensor:
    """Return the Grad-CAMs of every class where logits = weights · mean(activation) + rest.

    The gradient is then the same at every position, weights / (h · w), so no backward pass is needed.

    Args:
        weights: [class, channel].
        activation: [B, channel, h, w].

    Returns:
        [B, class, h, w], not negative.
    """
    area = activation.shape[-2] * activation.shape[-1]
    return torch.einsum("kc,bchw->bkhw", weights / area, activation).relu()


def by_gradient(net: "VariantNet", batch: dict[str, Tensor], target: Tensor) -> Tensor:
    """Return the CAM of one class per image, by a backward pass down to the activation map.

    Args:
        net: In eval mode.
        batch: What `net.map_inputs` names.
        target: Class positions, int64 [B].

    Returns:
        [B, h, w], not negative.
    """
    return _gradients(net, batch, target[:, None])[:, 0]


def cams(net: "VariantNet", batch: dict[str, Tensor], targets: Tensor) -> Tensor:
    """Return the CAMs of several classes per image, in closed form where the network allows it.

    Args:
        net: In eval mode.
        batch: What `net.map_inputs` names.
        targets: Class positions, int64 [B, T].

    Returns:
        [B, T, h, w], not negative.
    """
    weights = net.pooled_weights()
    if weights is None:
        return _gradients(net, batch, targets)
    with torch.no_grad():
        _, activation = net.forward_with_map(batch)
        every_class = closed_form(weights, activation)
        return every_class[torch.arange(len(targets), device=targets.device)[:, None], targets]


def _gradients(net: "VariantNet", batch: dict[str, Tensor], targets: Tensor) -> Tensor:
    with torch.enable_grad():
        # A loaded network is frozen throughout, and without a gradient at the input there would be none at the map.
        logits, activation = net.forward_with_map({name: x.detach().requires_grad_() for name, x in batch.items()})
        scores = logits.gather(1, targets).sum(0)
        found = []
        for i, score in enumerate(scores):
            (gradient,) = torch.autograd.grad(score, activation, retain_graph=i + 1 < len(scores))
            found.append((gradient * activation.detach()).sum(1).relu())
    return torch.stack(found, 1)


def lift(cam: np.ndarray, mask: np.ndarray) -> dict[str, float | None]:
    """Return how much more CAM energy falls on each mask category than its area explains; 1 is chance.

    Args:
        cam: Not negative, float [h, w]; resized to the mask bilinearly.
        mask: Ids 0 ... 6, uint8 [H, W].

    Returns:
        By category; None where it is absent from the mask or the CAM is zero everywhere.
    """
    whole = torch.from_numpy(np.ascontiguousarray(cam, np.float32))[None, None]
    resized = functional.interpolate(whole, mask.shape, mode="bilinear", align_corners=False)[0, 0].numpy()
    energy = np.bincount(mask.ravel(), resized.ravel(), len(LIFTS) + 1)
    area = np.bincount(mask.ravel(), minlength=len(LIFTS) + 1)
    total = energy.sum()
    return {
        name: float(energy[i] / total / (area[i] / mask.size)) if area[i] and total > 0 else None
        for i, name in enumerate(LIFTS, start=1)
    }


def choose(parts: list[Part], per_class: int) -> list[tuple[int, int, str]]:
    """Choose images to explain: per true class, the surest right and the surest wrong ones, over many drivers.

    The choice depends on the predictions alone, never on the order of files or rows.

    Args:
        parts: Predictions of one variant.
        per_class: Images of each kind per class; fewer where there are not as many.

    Returns:
        (part, row, "correct" or "confused"), by class, right ones first.
    """
    chosen = []
    for c in range(len(CLASS_IDS)):
        for kind in ("correct", "confused"):
            by_driver: dict[str, list[tuple[float, str, int, int]]] = {}
            for i, part in enumerate(parts):
                wanted = (part.true == c) & ((part.predicted == c) == (kind == "correct"))
                for row in np.flatnonzero(wanted):
                    surest_first = (-float(part.probabilities[row].max()), str(part.img[row]), i, int(row))
                    by_driver.setdefault(str(part.subject[row]), []).append(surest_first)
            chosen += [(i, row, kind) for i, row in _spread(by_driver, per_class)]
    return chosen


def _spread(by_driver: dict[str, list[tuple[float, str, int, int]]], wanted: int) -> list[tuple[int, int]]:
    """Take from each driver in turn; where there are more drivers than places, from evenly spaced ones."""
    queues = [sorted(by_driver[driver]) for driver in sorted(by_driver)]
    if len(queues) > wanted:
        queues = [queues[i] for i in np.linspace(0, len(queues) - 1, wanted).round().astype(int)]
    taken = [queue[turn] for turn in range(wanted) for queue in queues if turn < len(queue)]
    return [(i, row) for _, _, i, row in taken[:wanted]]


def gradcam_variant(
    settings: Settings,
    variant: str,
    *,
    images_per_class: int = 4,
    device: str = "auto",
    log: Callable[[str], object] = print,
) -> GradcamResult:
    """Explain images that a variant held out, with the network of the fold that held them out; write and return it.

    Args:
        settings: Gives predictions, models, masks and the evaluation folder.
        variant: Variant name.
        images_per_class: Right images, and as many confused ones, per class.
        device: As in `DeviceConfig`.
        log: Receives progress.

    Raises:
        DistractedError: The variant has no usable predictions, or none of its folds has a checkpoint.
    """
    from distracted_pipeline.training.checkpoint import is_trained

    predictions = read_predictions(settings, [variant])
    parts = predictions.of(variant, "oof") or predictions.of(variant, "dev")
    missing = [*predictions.missing, *predictions.rejected]
    if not parts:
        raise DistractedError(f"{'; '.join(missing)}. Run `distracted run --variant {variant}`.")
    untrained = [part.fold for part in parts if not is_trained(settings, variant, part.fold)]
    parts = [part for part in parts if part.fold not in untrained]
    if untrained:
        missing.append(f"{variant}: no current checkpoint for fold{'s' * (len(untrained) > 1)} {', '.join(untrained)}")
    if not parts:
        raise DistractedError(f"{missing[-1]}. Run `distracted run --variant {variant}`.")
    chosen = choose(parts, images_per_class)
    progress = Progress(len(chosen), "images", log)
    mask_of = _mask_reader(settings, {str(parts[i].subject[row]) for i, row, _ in chosen}, missing)
    rows: list[dict[str, Any]] = []
    maps: list[np.ndarray] = []
    unmasked: list[str] = []
    for place, kind, part, row, target, cam in _explain(settings, variant, parts, chosen, device, progress):
        mask = mask_of(str(part.img[row]))
        unmasked += [str(part.img[row])] * (mask is None)
        rows.append(_row(part, row, kind, target, cam, mask) | {"place": place})
        maps.append(_scaled(cam))
    if unmasked:
        count = len(set(unmasked))
        missing.append(f"{variant}: {count} explained images have no mask, so no lift, {min(unmasked)} first")
    order = sorted(range(len(rows)), key=lambda i: (rows[i]["place"], rows[i]["target"]))
    table = pa.Table.from_pylist([rows[i] for i in order], schema=SCHEMA)
    result = GradcamResult(
        table, np.stack([maps[i] for i in order]), settings.evaluation / "gradcam" / variant, missing
    )
    _write(result)
    log(f"{variant}: {len(chosen)} images explained, {sum(table['all_zero'].to_pylist())} of {len(rows)} CAMs all zero")
    return result


def _explain(
    settings: Settings,
    variant: str,
    parts: list[Part],
    chosen: list[tuple[int, int, str]],
    device: str,
    progress: Progress,
) -> Iterator[tuple[int, str, Part, int, str, np.ndarray]]:
    """Yield place in `chosen`, kind, part, row, target and CAM; each fold's network is loaded once."""
    from distracted_pipeline.training.checkpoint import load_trained
    from distracted_pipeline.training.inputs import load_inputs

    for i, part in enumerate(parts):
        places = [place for place, (p, _, _) in enumerate(chosen) if p == i]
        if not places:
            continue
        trained = load_trained(settings, variant, part.fold, device)
        net = trained.net
        where = next(net.parameters()).device
        for start in range(0, len(places), BATCH):
            now = places[start : start + BATCH]
            at = np.array([chosen[place][1] for place in now])
            names = part.img[at].tolist()
            batch = load_inputs(settings, net.map_inputs, names, model_name=trained.config.model_name)
            batch = {name: values.to(where) for name, values in batch.items()}
            targets = torch.from_numpy(np.stack([part.predicted[at], part.true[at]], 1).astype(np.int64)).to(where)
            both = cams(net, batch, targets).float().cpu().numpy()
            for place, row, cam in zip(now, at, both, strict=True):
                yield place, chosen[place][2], part, row, "predicted", cam[0]
                if chosen[place][2] == "confused":
                    yield place, "confused", part, row, "true", cam[1]
            progress.advance(len(now))


def _row(part: Part, row: int, kind: str, target: str, cam: np.ndarray, mask: np.ndarray | None) -> dict[str, Any]:
    lifts = lift(cam, mask) if mask is not None else {}
    return {
        "img": str(part.img[row]),
        "subject": str(part.subject[row]),
        "true": int(part.true[row]),
        "predicted": int(part.predicted[row]),
        "fold": part.fold,
        "target": target,
        "kind": kind,
        "all_zero": not cam.any(),
        **{LIFTS[name]: value for name, value in lifts.items()},
    }


def _scaled(cam: np.ndarray) -> np.ndarray:
    peak = cam.max()
    return np.rint(cam * (255 / peak)).astype(np.uint8) if peak > 0 else np.zeros(cam.shape, np.uint8)


def _mask_reader(settings: Settings, subjects: set[str], missing: list[str]) -> Callable[[str], np.ndarray | None]:
    """Return what gives an image's mask, or None where it has none; no segmenter at all is said in `missing`."""
    from distracted_pipeline.masks.cache import open_cache

    try:
        cache = open_cache(settings)
    except DistractedError as error:
        missing.append(f"no lifts, because there are no masks: {error}")
        return lambda img: None
    present = {img for subject in subjects for img in cache.imgs(subject)}
    return lambda img: cache.mask(img) if img in present else None


def _write(result: GradcamResult) -> None:
    with atomic_path(result.folder / "cams.npz") as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, cams=result.cams)
    with atomic_path(result.folder / "rows.parquet") as temporary:
        pq.write_table(result.rows, temporary, compression="zstd")
