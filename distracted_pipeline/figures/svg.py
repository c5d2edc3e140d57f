"""SVG elements as escaped markup: what every figure of the report is made of.

Which figures there are is the business of `figures`, `tracks` and `curves`.
"""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape


def element(name: str, *children: object, **attributes: Any) -> Markup:
    """Return one SVG element; text and attributes are escaped, `_` in attribute names is `-`."""
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(str(escape(child)) for child in children)
    return Markup(f"<{name}{said}>{inner}</{name}>" if inner else f"<{name}{said}/>")


def drawing(width: float, height: float, title: str, parts: Sequence[Markup], kind: str) -> Markup:
    """Return a whole figure of a kind (its CSS class) with its words for readers who cannot see it."""
    box = f"0 0 {width:g} {height:g}"
    role = "group" if kind == "heatmap" else "img"  # an img hides the links inside it from screen readers
    inner = Markup("").join(parts)
    size = {"viewBox": box, "width": width, "height": height}
    return element("svg", element("title", title), inner, class_=kind, role=role, **size)


def points(*pairs: tuple[float, float]) -> str:
    """Return places as the `points` of a polyline or polygon."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)


def _short(value: object) -> object:
    return f"{round(value, 2):g}" if isinstance(value, float) else value
