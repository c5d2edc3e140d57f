"""What differs between two entries of the catalogue beside the technique: a difference in scores may be due to it.

Pure: two entries in, words out. What a field does is `config`, which technique an entry has `kinds`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from distracted_pipeline.variants.config import NOT_RECIPE, VariantConfig
from distracted_pipeline.variants.kinds import KINDS

_ALSO_TECHNIQUE: Final = frozenset({"kind", "adapter_weight", "body_decay"})
"""Fields that are no `Option` of a kind and still mean nothing without it."""


@dataclass(frozen=True)
class Differs:
    """One field of the recipe that is not the same in both.

    Attributes:
        field: Its name in words, `batch size`.
        a: What the first entry has, in words.
        b: What the second has.
    """

    field: str
    a: str
    b: str


def recipe_diff(a: VariantConfig, b: VariantConfig) -> list[Differs]:
    """Return what differs between two recipes beside the technique itself, defaults resolved, in the fields' order.

    The options of a technique are left out where the techniques differ: only one of the two has a use for them.
    """
    left_out = {*NOT_RECIPE, *(_technique() if a.kind != b.kind else ())}
    compared = [name for name in VariantConfig.model_fields if name not in left_out]
    pairs = [(name, getattr(a, name), getattr(b, name)) for name in compared]
    return [Differs(name.replace("_", " "), _words(one), _words(other)) for name, one, other in pairs if one != other]


def in_words(found: Sequence[Differs]) -> str:
    """Return the differences as one line: `also differs: optimizer adamw / adadelta`, or `nothing else differs`."""
    if not found:
        return "nothing else differs"
    return "also differs: " + ", ".join(f"{one.field} {one.a} / {one.b}" for one in found)


def _technique() -> set[str]:
    """Return the fields that say what a technique is: those with one value for all that have no use for them."""
    options = (option for kind in KINDS.values() for option in kind.options)
    return {*_ALSO_TECHNIQUE, *(option.field for option in options if len(option.unused) == 1)}


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " and ".join(map(str, value)) or "none"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
