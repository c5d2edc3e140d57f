import re
from itertools import product

import pytest

from distracted_pipeline.figures.matrices import DEEPEST, FADED
from distracted_pipeline.reports.page_parts import TEMPLATES

Colour = tuple[float, float, float]


def themes() -> dict[str, dict[str, Colour]]:
    """The named colours of the light and the dark style, 0 to 1."""
    css = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root\{([^}]*--paper[^}]*)\}", css)[:2]
    return {
        theme: {
            name: tuple(int(value[i : i + 2], 16) / 255 for i in (0, 2, 4))  # type: ignore[misc]
            for name, value in re.findall(r"--([\w-]+):#([0-9a-f]{6})", block)
        }
        for theme, block in zip(("light", "dark"), blocks, strict=True)
    }


def contrast(a: Colour, b: Colour) -> float:
    """WCAG 2 contrast ratio."""

    def luminance(colour: Colour) -> float:
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def mixed(over: Colour, under: Colour, opacity: float) -> Colour:
    return tuple(o * opacity + u * (1 - opacity) for o, u in zip(over, under, strict=True))  # type: ignore[return-value]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_meets_aa_contrast(theme: str) -> None:
    colours = themes()[theme]
    for ink, ground in product(("ink", "quiet", "link", "up", "down"), ("paper", "raised")):
        assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    assert contrast(colours["warn-ink"], colours["warn"]) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_numbers_in_the_deepest_cells_meet_aa_contrast(theme: str) -> None:
    colours = themes()[theme]
    for hue, (ground, opacity) in product(("up", "down"), (("paper", DEEPEST), ("raised", DEEPEST))):
        assert contrast(colours["ink"], mixed(colours[hue], colours[ground], opacity)) >= 4.5, (hue, opacity)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_quiet_numbers_in_faded_cells_meet_aa_contrast(theme: str) -> None:
    colours = themes()[theme]
    deepest = 0.04 + (DEEPEST - 0.04) * FADED
    for hue in ("up", "down"):
        assert contrast(colours["quiet"], mixed(colours[hue], colours["paper"], deepest)) >= 4.5, hue


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_marks_in_figures_stand_out_from_the_page(theme: str) -> None:
    colours = themes()[theme]
    for mark in ("up", "down", "even", "strong"):
        assert contrast(colours[mark], colours["paper"]) >= 3, mark
    css = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    for kind in ("driver", "bin"):  # dots that let one another shine through
        (opacity,) = re.findall(rf"svg \.{kind}\{{fill:var\(--up\);fill-opacity:([.\d]+)", css)
        assert contrast(mixed(colours["up"], colours["paper"], float(opacity)), colours["paper"]) >= 3, kind


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_shaded_probabilities_stay_readable(theme: str) -> None:
    colours = themes()[theme]
    css = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    shares = [int(share) / 100 for share in re.findall(r"\.t\d\{background:color-mix\(in srgb,var\(--up\) (\d+)%", css)]
    assert len(shares) == 4
    for share in shares:
        assert contrast(colours["ink"], mixed(colours["up"], colours["paper"], share)) >= 4.5, share
