"""Pages of one file that belong to no report: pictures inside, nothing loaded from anywhere.

Belongs here: how such a page is put together. What it says is `review`'s and `audit_page`'s.
"""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup
from PIL import Image

from distracted_pipeline.figures import formats
from distracted_pipeline.files import write_text
from distracted_pipeline.images.decode import decode_image
from distracted_pipeline.images.problems import ImageProblem
from distracted_pipeline.reports.page_parts import ALONE, bare_environment, policy, source

_QUALITY: Final = 80


def write_page(path: Path, template: str, said: Mapping[str, Any], script: str = "") -> Path:
    """Write a page and return its path.

    Args:
        path: Where to.
        template: Its name below `templates/`; extends `standalone.html.jinja`.
        said: What it gets.
        script: Name of the script that runs on it; empty for none.
    """
    environment = bare_environment()
    environment.filters.update(proportion=formats.proportion, count=formats.count, percent=formats.percent)
    environment.globals["interval"] = formats.interval
    style = source("style.css") + source("standalone.css")
    code = source(script) if script else None
    csp = policy(style, code, ALONE)
    html = environment.get_template(template).render(csp=csp, style=Markup(style), script=Markup(code or ""), **said)
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
