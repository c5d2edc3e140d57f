"""Reading a built report: its tags, links and words."""

import base64
import json
import re
import zlib
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from distracted_pipeline.reports.build import ReportResult


class Tags(HTMLParser):
    """Collects every tag with its attributes."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)


def pages(result: ReportResult) -> list[Path]:
    """Return every page of a report."""
    return sorted(result.path.parent.rglob("*.html"))


def links(page: Path) -> Iterator[str]:
    """Yield every address on a page: links and pictures."""
    for _, attributes in Tags(page).tags:
        yield from (value for name in ("href", "src") if (value := attributes.get(name)) is not None)


def text(page: Path) -> str:
    """Return the words of a page."""
    source = re.sub(r"<(style|script)\b.*?</\1>|</?dfn[^>]*>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", source)).split())


def unpacked(page: Path) -> dict[str, Any]:
    """Return the data in a page, as its script reads it."""
    text = page.read_text(encoding="utf-8").partition('id="data">')[2].partition("</script>")[0]
    found: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(text)))
    return found
