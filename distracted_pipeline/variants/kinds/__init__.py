"""Techniques, one file each: what a kind of variant trains, what it reads, which backbones it fits, how it is built.

Every module of this package names its technique `KIND`; `KINDS` holds them all. `register` adds one from elsewhere,
e.g. from a notebook. Everything that loads the Dagster definitions imports this package, so its modules import torch
and the like inside functions only.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from distracted_pipeline.variants.config import VariantConfig
    from distracted_pipeline.variants.networks import VariantNet
    from distracted_pipeline.variants.subspace import Embedded
    from distracted_pipeline.variants.trunks import Trunk

FRACTIONS: Final = "fractions"
"""The input that comes from the mask cache; all others are taps of the backbone."""

HEAD: Final = re.compile(r"^(classifier|mask_head)\.")
"""Names of the parameters that learn in every kind, where the network has them."""


@dataclass(frozen=True)
class Option:
    """A field of `VariantConfig` that only some kinds take.

    Attributes:
        field: Its name.
        unused: Values that mean the field is not used: all that other kinds may have there.
        says: What is allowed, for the message; empty: that only this kind takes it.
        allowed: Whether the kind itself takes a value.
    """

    field: str
    unused: tuple[Any, ...]
    says: str = ""
    allowed: Callable[[Any], bool] = lambda value: True


@dataclass(frozen=True)
class Kind:
    """One technique.

    Attributes:
        name: As the entry's `kind` says it.
        trains: What learns, in words.
        reads: What the network reads: at most one tap (`pixels`, `block<i>_input`, `last_block`, `pooled`) and
            `fractions`, which gives it a mask head. Or a function of the variant that returns it.
        learns: Pattern of the names of the parameters that learn, beside those of `HEAD`; or a function of the
            network that returns such names.
        body: Pattern of the names that learn at `body_lr`, all others at `top_lr`; empty: all learn at `top_lr`.
        adjust: Changes how the embedding is read, from those of the training and of the validation drivers, e.g.
            removes directions from it. It has to be linear, for it is merged into the classifier.
        insert: Changes the trunk before training, e.g. puts adapters into it.
        options: Fields of the variant that this kind takes and others do not.
        defaults: Values of fields that an entry of this kind leaves out.
        check: Returns what else is wrong with a variant's options, or None.
        families: Hugging Face's `model_type` of the backbones that fit; empty: any image classifier.
        because: Why only those: completes "kind <name> ...".
        stacks: Replicates train side by side as one batched computation: for small heads on cached inputs.
        package: Package that it needs beyond those of the project.
        install: Command that installs the package.
    """

    name: str
    trains: str
    reads: "tuple[str, ...] | Callable[[VariantConfig], tuple[str, ...]]"
    learns: "str | Callable[[VariantNet], set[str]]" = ""
    body: str = ""
    insert: "Callable[[Trunk, VariantConfig], None] | None" = None
    adjust: "Callable[[VariantNet, Embedded, Embedded], None] | None" = None
    options: tuple[Option, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    check: "Callable[[VariantConfig], str | None] | None" = None
    families: tuple[str, ...] = ()
    because: str = ""
    stacks: bool = False
    package: str = ""
    install: str = ""

    def inputs(self, config: "VariantConfig") -> tuple[str, ...]:
        """Return what the network of a variant reads: with augmentation pixels, in the place of a tap."""
        names = self.reads(config) if callable(self.reads) else self.reads
        return tuple("pixels" if config.augment and name != FRACTIONS else name for name in names)

    def learning(self, net: "VariantNet") -> set[str]:
        """Return the names of the parameters that learn.

        Raises:
            DistractedError: The backbone has none of those that the kind trains.
        """
        names = {name for name, _ in net.named_parameters()}
        if callable(self.learns):
            chosen = self.learns(net)
        else:
            chosen = {name for name in names if self.learns and re.search(self.learns, name)}
        return chosen | {name for name in names if HEAD.search(name)}

    def is_body(self, name: str) -> bool:
        """Tell whether a parameter learns at `body_lr`."""
        return bool(self.body and re.search(self.body, name))

    def why_not(self, source: str, family: str | None) -> str | None:
        """Return why the kind cannot be trained with a backbone, in a sentence, or None if it can.

        Args:
            source: The backbone, for the message.
            family: Its `model_type`; None where that is not known.
        """
        if self.package and find_spec(self.package) is None:
            return f"kind {self.name} needs the package {self.package}, which is not installed: {self.install}"
        if family is None or not self.families or family in self.families:
            return None
        return (
            f"kind {self.name} {self.because}, and {source} is {family}: set DISTRACTED_BACKBONE, or the variant's "
            f"`model_name`, to a model of type {' or '.join(self.families)}"
        )


KINDS: Final[dict[str, Kind]] = {}
"""Every technique by name."""


def register(kind: Kind) -> None:
    """Add a technique to `KINDS`, in the place of one of the same name."""
    KINDS[kind.name] = kind


def objection(config: "VariantConfig") -> str | None:
    """Return which of a variant's options does not fit its kind, and what is allowed; None where all fit."""
    kind = config.technique
    own = {option.field for option in kind.options}
    for each in KINDS.values():
        for option in each.options:
            value = getattr(config, option.field)
            fits = value in option.unused or option.field in own
            if each is kind:
                fits = option.allowed(value)
            if not fits:
                shown = list(value) if isinstance(value, tuple) else value if isinstance(value, str) else f"{value:g}"
                says = option.says or f"only kind {each.name} takes it, leave it out here"
                return f"{option.field} is {shown}: {says}"
    if config.augment and FRACTIONS in kind.inputs(config):
        return "augment is true: it would shift the photograph and not its masks. Leave it out for a kind with masks"
    return kind.check(config) if kind.check else None


for _module in iter_modules(__path__):
    register(import_module(f"{__name__}.{_module.name}").KIND)
