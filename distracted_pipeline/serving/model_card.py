"""The page that goes with a model: what it learnt from, what it reached on whom, what it must not be used for.

Belongs here: Markdown, from checkpoints and tables. Numbers come from `evaluation.tables`; which model is the champion
is `champion`, and files for other runtimes are `export` and `onnx_export`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distracted_pipeline.evaluation.checkpoint_facts import replicates
from distracted_pipeline.evaluation.table_schemas import ClassScore, VariantScore
from distracted_pipeline.evaluation.tables import CLASSES_FILE, VARIANTS_FILE
from distracted_pipeline.evaluation.tables_io import read_rows
from distracted_pipeline.figures.formats import listing
from distracted_pipeline.images.manifest import labelled, read_manifest
from distracted_pipeline.masks.fractions import GRID
from distracted_pipeline.masks.identity import masks_are_given
from distracted_pipeline.scopes import SCOPES
from distracted_pipeline.serving.export import OPSET, OUTPUT, Classifier
from distracted_pipeline.settings import FOLDER_PREFIX, Settings
from distracted_pipeline.training.checkpoint import Trained

CARD = "MODEL_CARD.md"

_LICENCES = {
    "google/efficientnet-b3": "Apache 2.0, by its page on the hub",
    "facebook/mask2former-swin-base-coco-panoptic": "CC BY-NC 4.0, by its page on the hub: not for commerce",
}
"""Of the models that are used unless others are named; their files do not state it."""

_UNSTATED = "not stated in its files: read the page it came from"


@dataclass(frozen=True)
class Subject:
    """The model that a card is about.

    Attributes:
        variant: Its name.
        label: The same for people.
        description: What the technique is.
        fold: Whose weights.
        trainings: How many there are on that fold; the first is the model.
        inputs: `pixels` and `fractions`, those that it reads.
        size: Height and width of what the backbone sees; empty where it reads no picture.
        backbone: Id or folder; empty where it reads no picture.
        train_drivers: Whom it learnt from.
        validation_drivers: Who chose its epoch.
    """

    variant: str
    label: str
    description: str
    fold: str
    trainings: int
    inputs: Sequence[str]
    size: Sequence[int]
    backbone: str
    train_drivers: Sequence[str]
    validation_drivers: Sequence[str]


def subject_of(settings: Settings, trained: Trained, fold: str, module: Classifier) -> Subject:
    """Return what the card of a trained variant is about."""
    config = trained.config
    return Subject(
        variant=config.name,
        label=config.label or config.name,
        description=config.description,
        fold=fold,
        trainings=max(1, replicates(settings, config.name, fold)),
        inputs=module.inputs,
        size=module.size or (),
        backbone=(config.model_name or settings.backbone) if config.taps else "",
        train_drivers=trained.meta["train_subjects"],
        validation_drivers=trained.meta["validation_subjects"],
    )


def model_card(settings: Settings, about: Subject) -> str:
    """Return the card of a trained model in Markdown; chapters whose numbers do not exist yet say so."""
    parts = [
        _head(settings, about),
        _use(settings, about),
        _data(settings, about),
        _measured(settings, about),
        _limits(settings, about),
        _licences(settings, about),
    ]
    return "\n\n".join(parts) + "\n"


def weights_licence(source: str) -> str:
    """Return the licence that weights state: `license:` at the head of their folder's card, else what is known."""
    for name in ("README.md", CARD):
        path = Path(source.removeprefix(FOLDER_PREFIX)).expanduser() / name
        if path.is_file() and (stated := _front_matter(path.read_text(encoding="utf-8", errors="replace"))):
            return f"{stated}, by the card in its folder"
    return _LICENCES.get(source, _UNSTATED)


def _front_matter(text: str) -> str:
    """Return the value of `license` between the two lines of dashes that open a card; empty where there is none."""
    if not text.startswith("---"):
        return ""
    head = text.split("---", 2)[1]
    fields = dict(line.split(":", 1) for line in head.splitlines() if ":" in line)
    return fields.get("license", "").strip().strip("'\"")


def _head(settings: Settings, about: Subject) -> str:
    dataset = settings.dataset
    which = "the only training" if about.trainings < 2 else f"the first of {about.trainings} trainings"
    return (
        f"# {about.label}: what a driver does, from one frame\n\n"
        f"Variant `{about.variant}`, fold `{about.fold}`, {which}. {about.description.strip()}\n\n"
        f"Says which of {len(dataset.class_ids)} things the driver does:\n\n"
        + "\n".join(f"- `{key}` {name}" for key, name in zip(dataset.class_ids, dataset.class_names, strict=True))
    )


def _use(settings: Settings, about: Subject) -> str:
    ids = len(settings.dataset.mask_names)
    reads = {
        "pixels": "the whole frame in RGB" + (f", resized to {about.size[1]} x {about.size[0]}" if about.size else ""),
        "fractions": f"masks: the share of {listing(list(settings.dataset.mask_names))} in each cell of a grid of "
        f"{GRID[1]} x {GRID[0]} over the frame ({ids} maps)",
    }
    goes_in = {
        "pixels": "Frames go in as uint8 RGB `[B, 3, H, W]`, of any size; resizing and normalising are inside.",
        "fractions": "Masks go in as uint8 `[B, H, W]`, the id of the category at each pixel.",
    }
    return (
        "## Use\n\n"
        f"Reads {' and '.join(reads[name] for name in about.inputs)}. In three ways:\n\n"
        "- `distracted predict FOLDER --variant "
        f"{about.variant}`: files in, a table out; it makes the masks that are needed.\n"
        '- `mlflow.pytorch.load_model("models:/distracted_driver@champion")`, for the variant that is registered. '
        "Loading a pt2 archive unpickles parts of it: load it only from a store that you trust.\n"
        f"- `distracted export`: ONNX (opset {OPSET}), without Python. "
        + " ".join(goes_in[name] for name in about.inputs)
        + f" `{OUTPUT}` come out as float32 `[B, {len(settings.dataset.class_ids)}]`, in the order above."
    )


def _data(settings: Settings, about: Subject) -> str:
    table = labelled(read_manifest(settings))
    owners: list[str] = table["subject"].to_pylist()
    learnt = sum(owner in set(about.train_drivers) for owner in owners)
    kind = "drawings" if settings.synthetic else "photographs"
    lines = [
        f"{settings.dataset.name}: {len(owners):,} labelled {kind} of {len(set(owners))} drivers.",
        f"This model learnt from {learnt:,} of them, of {len(about.train_drivers)} drivers "
        f"({', '.join(about.train_drivers)}); {_people(about.validation_drivers)} chose its epoch. "
        "Nobody else is in its training.",
    ]
    return "## Data\n\n" + "\n\n".join(lines)


def _people(names: Sequence[str]) -> str:
    return f"{', '.join(names)}" if names else "nobody"


def _measured(settings: Settings, about: Subject) -> str:
    head = "## What it reaches\n\n"
    scores = _best_scope(settings, about.variant)
    if scores is None:
        return f"{head}Not measured yet: there are no tables of held-out drivers. `distracted run` makes them."
    score, classes = scores
    dataset = settings.dataset
    rows = [
        f"| {dataset.class_label(row.class_id)} | {row.n:,} | {_number(row.recall)} | {_interval(row)} | "
        f"{_number(row.precision)} | {row.verdict if row.baseline else '-'} |"
        for row in classes
    ]
    among = SCOPES[score.scope].folds
    ours = (
        "of which this model is one"
        if about.fold in among
        else f"of the same recipe; this model, of fold `{about.fold}`, is none of them"
    )
    against = next((row.baseline for row in classes if row.baseline), "")
    lines = [
        f"On {SCOPES[score.scope].words}: {score.drivers} drivers, {score.n:,} frames, none of whom the weights that "
        f"judged them had seen. Macro recall {_number(score.macro_recall)}, mean of {score.trainings} "
        f"training{'s' * (score.trainings != 1)} a fold, {ours}. Intervals (95%) are for other "
        "drivers and another training.",
        "| class | frames | recall | interval | precision | against "
        + (f"`{against}`" if against else "its control")
        + " |\n|---|---|---|---|---|---|\n"
        + "\n".join(rows),
    ]
    if score.worst_driver:
        lines.append(f"Least for driver {score.worst_driver}: macro recall {_number(score.worst_driver_recall)}.")
    return head + "\n\n".join(lines)


def _best_scope(settings: Settings, variant: str) -> tuple[VariantScore, list[ClassScore]] | None:
    """Return what was measured of a variant, out of fold if it was, with its rows by class."""
    path = settings.evaluation / VARIANTS_FILE
    found = (
        {row.scope: row for row in read_rows(path, VariantScore) if row.variant == variant} if path.is_file() else {}
    )
    scope = next((scope for scope in SCOPES if scope in found), None)
    if scope is None:
        return None
    rows = read_rows(settings.evaluation / CLASSES_FILE, ClassScore)
    return found[scope], [row for row in rows if (row.variant, row.scope) == (variant, scope)]


def _limits(settings: Settings, about: Subject) -> str:
    lines = [
        "- It judges single frames, taken from where the camera sat in its data, and knows nothing of time.",
        "- It is as sure of frames that are unlike its own as of others. `distracted predict` warns, ONNX does not.",
        "- Recall differs between drivers more than an average shows: measure it on your own before you rely on it.",
        "- It is made for research: not to judge a person, and no part of a safety system.",
    ]
    if settings.synthetic:
        lines.insert(0, "- **It learnt from drawings.** It says nothing about photographs.")
    if "fractions" in about.inputs:
        how = (
            "given, not predicted: another source of masks"
            if masks_are_given(settings)
            else f"those of `{_shown(settings.segmenter)}`: another segmenter"
        )
        lines.append(f"- Its masks were {how} may make it worse.")
    return "## Limits\n\n" + "\n".join(lines)


def _licences(settings: Settings, about: Subject) -> str:
    rows: Mapping[str, Any] = {
        **({f"backbone `{_shown(about.backbone)}`": weights_licence(about.backbone)} if about.backbone else {}),
        **(
            {f"masks of `{_shown(settings.segmenter)}`": weights_licence(settings.segmenter)}
            if "fractions" in about.inputs and not masks_are_given(settings)
            else {}
        ),
        "data": "read the terms of the data set: they bind what was trained on it too",
    }
    return "## Licences\n\n" + "\n".join(f"- {what}: {licence}." for what, licence in rows.items())


def _shown(source: str) -> str:
    """Return a hub id, or the last part of a folder: the paths of a machine mean nothing elsewhere."""
    bare = Path(source.removeprefix(FOLDER_PREFIX))
    return bare.name if bare.is_absolute() else str(bare)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(row: ClassScore) -> str:
    return (
        "-" if row.recall_low is None or row.recall_high is None else f"{row.recall_low:.3f} to {row.recall_high:.3f}"
    )
