"""Pages of one file that belong to no report: pictures inside, nothing loaded from anywhere.

Belongs here: how such a page is put together. What it says is `review`'s and `audit_page`'s.
"""

import base64
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup
from PIL import Image

from distracted_pipeline.figures import formats
from distracted_pipeline.files import write_text
from distracted_pipeline.images.decode import decode_image
from distracted_pipeline.images.problems import ImageProblem

_TEMPLATES: Final = Path(__file__).parent / "templates"
_QUALITY: Final = 80


def write_page(path: Path, template: str, said: Mapping[str, Any], script: str = "") -> Path:
    """Write a page and return its path.

    Args:
        path: Where to.
        template: Its name below `templates/`; extends `standalone.html.jinja`.
        said: What it gets.
        script: Name of the script that runs on it; empty for none.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(proportion=formats.proportion, count=formats.count, percent=formats.percent)
    environment.globals["interval"] = formats.interval
    style = _source("style.css") + _source("standalone.css")
    code = _source(script) if script else ""
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; "
        f"script-src {_quoted(_digest(code)) if code else _quoted('none')}; base-uri 'none'; form-action 'none'"
    )
    html = environment.get_template(template).render(csp=policy, style=Markup(style), script=Markup(code), **said)
    write_text(path, html)
    return path


def picture(data: bytes, where: str, width: int = 320) -> str:
    """Return a frame as a `data:` address, scaled down to `width`; empty where it cannot be decoded."""
    try:
        image = decode_image(data, where)
    except ImageProblem:
        return ""
    if image.width > width:
        image = image.resize((width, max(1, round(image.height * width / image.width))), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _source(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _quoted(word: str) -> str:
    return f"'{word}'"
