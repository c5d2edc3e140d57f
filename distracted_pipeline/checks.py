"""The outcome of a check, as every room says it and Dagster shows it.

What is checked belongs to the rooms; `assets.metadata` hands checks to Dagster.
"""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Check:
    """The outcome of one check.

    Attributes:
        name: As in the asset's specification.
        passed: Whether the expectation is met.
        description: What was found, and what to do where it is not as expected.
        severity: `ERROR` where results would be wrong, `WARN` where a person should look but nothing is broken.
        facts: Numbers and names behind it; a list of records is a table, a list of names a line.
    """

    name: str
    passed: bool
    description: str
    severity: Literal["ERROR", "WARN"] = "ERROR"
    facts: dict[str, Any] = field(default_factory=dict)
