"""The report's words, explained where a page uses them first; the same as in docs/glossary.md.

Belongs here: which words, what they mean, and where on a page they may be explained.
"""

import re
from collections.abc import Collection
from typing import Final

from markupsafe import escape

TERMS: Final = {
    "baseline": "the variant that others are compared with, unless they name a control",
    "control": "the entry that a technique is compared with, alike in everything but the technique",
    "reference": "what a variant is compared with: its control, else the baseline",
    "recipe": "all of an entry that changes trained weights: everything but its words, `replicates`, `control` and "
    "`on_request`",
    "placebo": "an entry with the baseline's recipe and another seed, compared as any other: what is called an effect "
    "there is none",
    "champion": "the variant with the highest macro recall on unseen drivers, in MLflow's registry",
    "verdict": "what the test says of a class: improved, worsened, undetermined, not testable",
    "replicate": "one of several trainings of a variant on one fold, which differ in luck alone: initial weights, "
    "order, noise",
    "lift": "how much of a CAM lies on a mask category, over what its area alone explains; only its ratio to the lift "
    "of permuted CAMs (those of other drivers and classes) is evidence",
    "mask": "for each pixel of a frame the id of a mask category; 0 is none",
    "fold": "who trains, who chooses the epoch, who is reported; whole drivers always. `original`, and `0` to `4`, "
    "whose held-out drivers together are everyone once",
    "CAM": "class activation map: which places of a frame speak for a class (Grad-CAM)",
}
"""What is explained, by its word in the singular."""

_PROSE: Final = frozenset({"p", "li", "figcaption", "dd"})
_CLOSED: Final = frozenset({"a", "button", "code", "table", "svg", "script", "style", "form", "nav", "summary", "b"})
"""Elements whose words stay as they are: what leads somewhere, and what would cut an explanation off."""

_PIECES: Final = re.compile(r"(<[^>]*>)")
_TAG: Final = re.compile(r"<(/?)([a-zA-Z0-9]+)")
_VOID: Final = frozenset({"br", "img", "input", "meta", "link", "rect", "line", "circle", "path", "wbr", "hr"})


def explain_words(html: str, but: Collection[str] = (), names: Collection[str] = ()) -> str:
    """Return a page whose words of the glossary are explained where prose uses them first, once each.

    Args:
        html: The page.
        but: Words that mean something else on this page, which says what.
        names: Titles (of variants, say) whose words are no words of the glossary.
    """
    left = {word: meaning for word, meaning in TERMS.items() if word not in but}
    kept = "|".join(re.escape(escape(name)) for name in sorted(names, key=len, reverse=True))
    open_tags: list[str] = []
    pieces = _PIECES.split(html)
    for place, piece in enumerate(pieces):
        if tag := _TAG.match(piece):
            _follow(open_tags, tag, piece)
        elif left and piece.strip() and "main" in open_tags and _prose(open_tags):
            pieces[place] = _explained(piece, left, kept)
    return "".join(pieces)


def _follow(open_tags: list[str], tag: re.Match[str], piece: str) -> None:
    name = tag[2].lower()
    if tag[1]:
        while open_tags and open_tags.pop() != name:
            pass
    elif name not in _VOID and not piece.endswith("/>"):
        open_tags.append(name)


def _prose(open_tags: list[str]) -> bool:
    return not _CLOSED.intersection(open_tags) and bool(_PROSE.intersection(open_tags))


def _explained(text: str, left: dict[str, str], names: str) -> str:
    """Return text with the words that are still to be explained; those that it uses are taken out of `left`."""
    known = rf"(?P<name>{names})|" if names else ""
    words = re.compile(rf"(?<![\w-])(?:{known}(?P<word>{'|'.join(left)})s?)(?![\w-])", re.IGNORECASE)

    def term(found: re.Match[str]) -> str:
        said = found["word"] or ""
        word = next((name for name in left if name.lower() == said.lower()), None)
        if word is None or (word.isupper() and not said.isupper()):
            return found[0]
        meaning = escape(left.pop(word).replace("`", ""))
        return f'<dfn tabindex="0" data-tip="{meaning}" aria-description="{meaning}">{found[0]}</dfn>'

    return words.sub(term, text)
