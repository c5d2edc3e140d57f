"""How figures and pages write numbers and names: one format for each kind of fact.

Pure functions, also used as Jinja filters. What is shown where is decided by whoever draws or writes.
"""

import hashlib
import math
import re

from distracted_pipeline.progress import duration

NONE = "–"
"""Stands for a value that does not exist, e.g. the recall of an absent class."""

MINUS = "−"

_PLAIN_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")


def defined(value: float | None) -> bool:
    """Tell whether a number exists: neither None nor NaN nor infinite."""
    return value is not None and math.isfinite(value)


def proportion(value: float | None, digits: int = 2) -> str:
    """Return `.87`, `1.00` or `–`."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:.{digits}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.{digits}f}"


def difference(value: float | None) -> str:
    """Return `+.05`, `−.05`, `±.00` or `–`."""
    if value is None or not math.isfinite(value):
        return NONE
    size = proportion(abs(value))
    if float(size) == 0:
        return f"±{size}"
    return f"{'+' if value > 0 else MINUS}{size}"


def signed(value: float) -> str:
    """Return a tick of an axis around zero: `−.5`, `0`, `+.125`."""
    return f"{'+' if value > 0 else MINUS}{abs(value):g}".replace("0.", ".", 1) if value else "0"


def interval(low: float | None, high: float | None) -> str:
    """Return `[.80, .92]`, or nothing where either end is undefined."""
    return f"[{proportion(low)}, {proportion(high)}]" if defined(low) and defined(high) else ""


def difference_interval(low: float | None, high: float | None) -> str:
    """Return `[−.02, +.12]`, or nothing where either end is undefined."""
    return f"[{difference(low)}, {difference(high)}]" if defined(low) and defined(high) else ""


def p_value(value: float | None) -> str:
    """Return `.012`, `< .001` or `–`."""
    if value is None or not math.isfinite(value):
        return NONE
    return "< .001" if value < 0.001 else proportion(value, 3)


def count(value: float | None) -> str:
    """Return `22,424` or `–`."""
    return NONE if value is None or not math.isfinite(value) else f"{round(value):,}"


def decimal(value: float | None, digits: int = 2) -> str:
    """Return a number that is not a proportion: `1.37` or `–`."""
    return NONE if value is None or not math.isfinite(value) else f"{value:.{digits}f}".replace("-", MINUS)


def size(value: int) -> str:
    """Return a byte count as `831 kB` or `12.4 MB`."""
    return f"{value / 1e6:.1f} MB" if value >= 1e6 else f"{value / 1e3:.0f} kB"


def slug(name: str) -> str:
    """Return a file name for any name, distinct for distinct names on every file system.

    Names that are plain already are kept; others (case, spaces, markup, unicode) get a hash appended.
    """
    if _PLAIN_NAME.fullmatch(name):
        return name
    safe = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip(".-")[:60]
    return f"{safe or 'x'}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:10]}"


def listing(names: list[str]) -> str:
    """Return `a`, `a and b` or `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def percent(value: float | None) -> str:
    """Return a share of a whole: `57%`, `< 1%` (never `0%` for what is there) or `–`."""
    if value is None or not math.isfinite(value):
        return NONE
    return "< 1%" if 0 < value < 0.005 else f"{value:.0%}"


def seconds(value: float | None) -> str:
    """Return a time span as a person would say it, or `–`."""
    return NONE if value is None or not math.isfinite(value) else duration(value)


def tint(value: float | None) -> str:
    """Return the CSS class that shades a table cell by a probability: `t0` ... `t4`."""
    return "t0" if value is None or not math.isfinite(value) else f"t{min(int(value * 5), 4)}"
