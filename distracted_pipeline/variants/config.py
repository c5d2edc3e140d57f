"""The catalogue of variants: YAML entries, validated; each entry is one partition of `trained_model`.

Belongs here: which options a variant has, their defaults and limits. Does not belong here: what a kind makes of them
(`kinds`), networks and weights (`backbones`, `networks`). Everything that loads the Dagster definitions imports this
module, so it imports nothing heavier than pydantic and yaml.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from distracted_pipeline.advice import did_you_mean
from distracted_pipeline.errors import DistractedError, shown
from distracted_pipeline.settings import MOST_REPLICATES, Settings
from distracted_pipeline.variants.kinds import KINDS, Kind, objection
from distracted_pipeline.yaml_text import load_yaml, read_text

NOT_RECIPE: Final = ("name", "label", "description", "replicates", "control", "on_request")
"""Fields that leave the weights of a training as they are."""


def seed_of(text: str) -> int:
    """Return a random seed of 63 bits that follows from a text; those of other texts have nothing in common with it."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


SWITCHES: Final = ("augment", "on_request")
"""Fields that are true or false; in all others these words are a slip."""

RESERVED = ("champion",)
"""Names that no variant may have."""


class VariantConfig(BaseModel):
    """One way to train a classifier. Field names are those of the original project's command line, in snake case."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$", max_length=64, description="key of the entry, folder and partition name"
    )
    label: str = Field(default="", description="how reports call it; the name if empty")
    description: str = ""
    kind: str = Field(description="the technique, one of variants/kinds")
    model_name: str | None = Field(default=None, description="backbone, id or folder; None is DISTRACTED_BACKBONE")
    batch_size: int = Field(default=128, ge=1, le=10**6)
    epochs: int = Field(default=10, ge=1, le=10**6)
    optimizer: Literal["adadelta", "adamw", "lbfgs"] = Field(
        default="adadelta", description="lbfgs takes full-batch steps; top_decay is then the penalty on the summed loss"
    )
    scheduler: Literal["step", "cosine"] = Field(default="step", description="step multiplies by gamma each epoch")
    gamma: float = Field(default=1.0, gt=0, le=1)
    top_lr: float = Field(default=2.0, gt=0, description="of all that learns, but for the body in fine_tune")
    top_decay: float = Field(default=0.0, ge=0)
    body_lr: float = Field(default=0.0, ge=0, description="of the rest of the backbone; only fine_tune trains it")
    body_decay: float = Field(default=0.0, ge=0)
    layer_decay: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="the body's rate falls by this factor per layer, from its last to its first",
    )
    adapters: tuple[int, ...] = Field(default=(), description="base blocks that get an adapter")
    adapter_weight: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="0: serial, h + A(h); else parallel, block(x) + weight * A(x)",
    )
    lora_rank: int = Field(default=8, ge=1, description="of kind lora's updates; narrower layers stay as they are")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="before the classifier, while training")
    augment: bool = Field(default=False, description="shifts and brightness; never flips, which swap left and right")
    checkpoint: str | None = Field(
        default=None,
        description="start from another variant's weights of the same fold, or a model folder's; frozen ones too",
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: Literal["balanced"] | None = Field(
        default=None, description="balanced: every class counts the same in the loss, however many training rows it has"
    )
    early_stopping: int = Field(
        default=0, ge=0, description="training ends after so many epochs without a better one; 0: never"
    )
    seed: int = Field(default=0, ge=0, lt=2**63)
    replicates: int = Field(
        default=3,
        ge=1,
        le=MOST_REPLICATES,
        description="trainings on each fold, each with its own luck; DISTRACTED_REPLICATES overrides",
    )
    control: str | None = Field(
        default=None,
        description="variant that this one is compared with, alike in all but the technique; None is the baseline",
    )
    on_request: bool = Field(
        default=False, description="it is not trained until somebody asks for it, by its name or by `distracted why`"
    )

    @field_validator("*", mode="before")
    @classmethod
    def _yes_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false where a number belongs, which pydantic would count as 1 and 0."""
        parts = value if isinstance(value, list) else [value]
        if info.field_name not in SWITCHES and any(isinstance(part, bool) for part in parts):
            raise ValueError(f"field {info.field_name!r} is {value!r}, which is neither a number nor a name")
        return value

    @model_validator(mode="before")
    @classmethod
    def _kind_and_its_defaults(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "kind" not in data:
            return data
        kind = data["kind"]
        if not isinstance(kind, str) or kind not in KINDS:
            *first, last = map(repr, KINDS)
            meant = did_you_mean(str(kind), KINDS)
            raise ValueError(f"field 'kind' is {shown(kind)}:{meant} Input should be {', '.join(first)} or {last}")
        return {**data, **{name: value for name, value in KINDS[kind].defaults.items() if data.get(name) is None}}

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        if self.name in RESERVED:
            raise ValueError(f"the name {shown(self.name)} is taken: `distracted predict` calls the best variant so")
        reason = objection(self)
        if reason:
            raise ValueError(reason)
        if self.checkpoint == self.name:
            raise ValueError(f"checkpoint is {shown(self.checkpoint)}, the entry itself: name another variant")
        return self

    @property
    def technique(self) -> Kind:
        """Return what the variant's kind is: what it trains and how."""
        return KINDS[self.kind]

    @property
    def title(self) -> str:
        """Return the label, or the name where there is none."""
        return self.label or self.name

    @property
    def inputs(self) -> tuple[str, ...]:
        """Return what training reads: backbone taps, and `fractions` from the mask cache."""
        return self.technique.inputs(self)

    @property
    def taps(self) -> tuple[str, ...]:
        """Return the inputs that come from the backbone."""
        return tuple(name for name in self.inputs if name != "fractions")

    @property
    def solves(self) -> bool:
        """Tell whether training ends in the one optimum of a convex problem, so that its replicates are equal."""
        return self.optimizer == "lbfgs" and not (self.dropout or self.augment or self.checkpoint)

    def fingerprint(self) -> str:
        """Return 12 hex digits over the recipe: all that would change the weights of a training."""
        facts = self.model_dump(mode="json", exclude=set(NOT_RECIPE))
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]

    def training_seed(self, fold: str, replicate: int) -> int:
        """Return the seed of one training, 63 bits: no two folds, replicates or recipes share their luck."""
        return seed_of(json.dumps([self.fingerprint(), fold, replicate]))


def load_catalogue(settings: Settings) -> dict[str, VariantConfig]:
    """Return the shipped variants, then the user's, by name; what waits for a request only once it was trained.

    Raises:
        DistractedError: As `every_variant`.
    """
    found = every_variant(settings)
    return {name: one for name, one in found.items() if not one.on_request or (settings.models / name).is_dir()}


def every_variant(settings: Settings) -> dict[str, VariantConfig]:
    """Return all entries by name, those too that nobody has asked for yet.

    The user's file adds entries, overrides single fields of shipped ones, and drops an entry given as `null`.

    Raises:
        DistractedError: The file is missing, is no YAML mapping, or an entry is not valid; the message names
            entry, field, and what is allowed.
    """
    own = settings.variants_file
    return dict(_catalogue("", "catalogue.yaml") if own is None else _catalogue(_read(own), str(own)))


@lru_cache(maxsize=8)
def _catalogue(own: str, source: str) -> dict[str, VariantConfig]:
    """Return the shipped variants under a user's YAML; kept, because a run asks hundreds of times."""
    shipped = resources.files("distracted_pipeline.variants") / "catalogue.yaml"
    entries = _entries(shipped.read_text(encoding="utf-8"), "catalogue.yaml")
    users = _entries(own, source) if own else {}
    if users:
        for name, fields in users.items():
            entries[name] = None if fields is None else {**(entries.get(name) or {}), **fields}
    catalogue = {name: validated(name, fields, source) for name, fields in entries.items() if fields is not None}
    alone = [
        name
        for name, entry in catalogue.items()
        if entry.on_request and name not in users and entry.control not in catalogue
    ]
    for name in alone:  # a shipped entry that nobody asked for goes with its control
        del catalogue[name]
    if not catalogue:
        raise DistractedError(f"{source} leaves no variant to train. Keep at least one entry that is not null.")
    for name in catalogue:
        _check_checkpoints(catalogue, name, source)
        _check_control(catalogue, name, source)
    return catalogue


def dropped_variants(settings: Settings) -> set[str]:
    """Return the names that the user's file gives as `null`: what lies on disk of them is shown no more.

    Raises:
        DistractedError: As `load_catalogue`.
    """
    if settings.variants_file is None:
        return set()
    entries = _entries(_read(settings.variants_file), str(settings.variants_file))
    return {name for name, fields in entries.items() if fields is None}


def variant_named(settings: Settings, name: str) -> VariantConfig:
    """Return one variant of the catalogue.

    Raises:
        DistractedError: No such variant; the message lists those there are.
    """
    catalogue = every_variant(settings)
    if name not in catalogue:
        raise DistractedError(
            f"there is no variant {shown(name)}.{did_you_mean(name, catalogue)} Variants: {', '.join(catalogue)}. "
            "Add it to the file that DISTRACTED_VARIANTS names."
        )
    return catalogue[name]


def replicates_of(settings: Settings, config: VariantConfig) -> int:
    """Return how often a variant is trained on each fold: as the setting says, else as its entry does."""
    return settings.replicates or config.replicates


def reference_of(settings: Settings, catalogue: Mapping[str, VariantConfig], name: str) -> str:
    """Return the variant that another one is compared with: its control, else the baseline."""
    return (catalogue[name].control if name in catalogue else None) or settings.baseline


def _check_checkpoints(catalogue: dict[str, VariantConfig], name: str, source: str) -> None:
    chain = [name]
    while (start := catalogue[chain[-1]].checkpoint) in catalogue and start is not None:
        if start in chain:
            raise DistractedError(
                f"{source}, entry {shown(name)}: checkpoint goes round in a circle ({' from '.join([*chain, start])}). "
                "Remove it from one of them."
            )
        chain.append(start)
    start = chain[min(1, len(chain) - 1)]
    wanted, there = (catalogue[entry].replicates for entry in (name, start))
    if there < wanted:
        raise DistractedError(
            f"{source}, entry {shown(name)}: replicates is {wanted}, but it starts from {start}, which is trained "
            f"{there} times on each fold, and each training needs its own start. Give both the same number."
        )


def _check_control(catalogue: dict[str, VariantConfig], name: str, source: str) -> None:
    control = catalogue[name].control
    if control is not None and (control == name or control not in catalogue):
        what = "the entry itself" if control == name else "no variant"
        raise DistractedError(
            f"{source}, entry {shown(name)}: control is {shown(control)}, {what}. Name one of "
            f"{', '.join(other for other in catalogue if other != name)}, or leave it out: then it is the baseline."
        )


def _read(path: Path) -> str:
    try:
        return read_text(path)
    except OSError as error:
        why = error.strerror
        raise DistractedError(
            f"DISTRACTED_VARIANTS names {path}, which cannot be read ({why}). Correct it, or unset it."
        ) from error


def _entries(text: str, source: str) -> dict[str, dict[str, Any] | None]:
    try:
        loaded = load_yaml(text) or {}
    except yaml.YAMLError as error:
        raise DistractedError(
            f"{source} is not valid YAML: {error}. Correct it, then run the command again."
        ) from error
    if not isinstance(loaded, dict):
        raise DistractedError(
            f"{source} holds a {type(loaded).__name__}: write `name:` with its options indented below."
        )
    for name, fields in loaded.items():
        if fields is not None and not isinstance(fields, dict):
            raise DistractedError(
                f"{source}, entry {shown(name)}: {shown(fields)} is not a set of options. Write `field: value` lines "
                "below it."
            )
    return {str(name): fields for name, fields in loaded.items()}


def validated(name: str, fields: dict[str, Any], source: str) -> VariantConfig:
    """Return `fields` as a variant, or say which of them is wrong and what is allowed.

    Args:
        name: Key of the entry.
        fields: Its options.
        source: Where the entry stands, for the message.

    Raises:
        DistractedError: A field is unknown, missing, or outside its limits, or names the entry otherwise than its key.
    """
    if fields.get("name", name) != name:  # it would win, and another entry be trained under this one's key
        raise DistractedError(
            f"{source}, entry {shown(name)}: 'name' is {shown(fields['name'])}, but the key is an entry's name. Remove "
            "the field, or write that name as the key; how it is shown is `label`."
        )
    try:
        return VariantConfig.model_validate({"name": name, **fields})
    except ValidationError as error:
        problems = "; ".join(_explained(problem) for problem in error.errors())
        raise DistractedError(
            f"{source}, entry {shown(name)}: {problems}. Correct it, then run the command again."
        ) from error


def _explained(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        fields = VariantConfig.model_fields
        meant = did_you_mean(where.replace("-", "_"), fields)
        return f"unknown field {shown(where)}.{meant} Fields: {', '.join(fields)}"
    if problem["type"] == "missing":
        allowed = f"; allowed: {', '.join(KINDS)}" if where == "kind" else ""
        return f"field {shown(where)} is missing{allowed}"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    return f"field {shown(where)} is {shown(problem['input'])}: {problem['msg']}"
