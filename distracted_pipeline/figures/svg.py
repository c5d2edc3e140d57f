"""SVG elements as escaped markup: what every figure is made of, and how a figure stands on its own.

Which figures there are is the business of `matrices`, `dot_plots` and `curves`.
"""

import base64
from collections.abc import Sequence
from typing import Any, Final
from xml.etree import ElementTree

from markupsafe import Markup, escape

STYLE: Final = (
    "text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:#1d2125}"
    "text.quiet,.track text,text.open{fill:#565d66}text.quiet,.track text{font-size:11.5px}"
    "text.decided{font-weight:700}text.n{text-anchor:middle}"
    ".none{fill:#f4f4f1}.bin,.driver{fill-opacity:.78}.up,.right,.bin,.driver,.mark.up{fill:#1769b0}.down,.wrong,.mark.down{fill:#b4500b}"
    ".even{fill:#4a515a}.frame{fill:none;stroke-width:2}.frame.up,.line.up,.whisker.up{stroke:#1769b0}"
    ".frame.down,.line.down,.whisker.down{stroke:#b4500b}.line.even,.whisker.even{stroke:#4a515a}"
    ".luck{fill:#8b9199;fill-opacity:.25}.corrected{stroke-width:1}.corrected.up{stroke:#1769b0}.corrected.down{stroke:#b4500b}.corrected.even{stroke:#4a515a}"
    ".whisker{stroke-width:2.5}.axis{stroke:#8b9199}.field{fill:none;stroke:#d8dad6}.line{fill:none;stroke-width:2}"
    ".line.down{stroke-dasharray:5 3}.reference{stroke:#8b9199;stroke-width:2;stroke-dasharray:2 2}"
)
"""The light colours of the report's style sheet: a figure on its own stands on a white ground."""


_LINKED: Final = ("heatmap", "confusion", "shares", "strip")
"""Kinds of figures whose parts may lead somewhere."""


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
    role = "group" if kind in _LINKED else "img"  # an img hides the links inside it from screen readers
    inner = Markup("").join(parts)
    size = {"viewBox": box, "width": width, "height": height}
    return element("svg", element("title", title), inner, class_=kind, role=role, **size)


def standalone(figure: Markup) -> str:
    """Return a figure of this room as a complete SVG document that needs no page and no style sheet around it.

    Several figures, one after another, stand side by side in it.
    """
    drawings = list(ElementTree.fromstring(f"<div>{figure}</div>").iter("svg"))
    width = height = 0.0
    for found in drawings:
        found.set("x", f"{width:g}")
        width += float(found.get("width", 0))
        height = max(height, float(found.get("height", 0)))
    inner = Markup("").join(Markup(ElementTree.tostring(found, encoding="unicode")) for found in drawings)
    return str(
        element(
            "svg",
            element("style", Markup(STYLE)),
            element("rect", width=width, height=height, fill="#fff"),
            inner,
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {width:g} {height:g}",
            width=f"{width:g}",
            height=f"{height:g}",
        )
    )


def as_markdown_image(svg: str, alt: str) -> str:
    """Return an SVG document as an image for Markdown, with nothing to load; `alt` is what it shows, in words."""
    return f"![{alt}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


def points(*pairs: tuple[float, float]) -> str:
    """Return places as the `points` of a polyline or polygon."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)


def _short(value: object) -> object:
    return f"{round(value, 2):g}" if isinstance(value, float) else value
