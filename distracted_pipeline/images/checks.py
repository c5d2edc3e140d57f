"""What is expected of a manifest: enough of everything, few bad files, folds that keep drivers apart.

Plain verdicts; `assets` turns them into Dagster's.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from distracted_pipeline.images.folds import examine_folds
from distracted_pipeline.images.ingest import IngestResult
from distracted_pipeline.images.manifest import labelled
from distracted_pipeline.vocabulary import CLASS_IDS, KAGGLE_LABELLED, SUBJECTS

MIN_DRIVERS: Final = 6
"""With fewer drivers no difference between two variants can be tested."""

_SHOWN: Final = 5


@dataclass(frozen=True)
class Verdict:
    """Outcome of one check.

    Attributes:
        passed: Whether the expectation is met.
        serious: Whether results would be wrong, not only weaker, where it is not met.
        description: What was found, and what to do where it is not met.
    """

    passed: bool
    serious: bool
    description: str


def check_counts(table: pa.Table) -> Verdict:
    """Expect ten classes, each from every driver, enough drivers, and all frames of Kaggle's if they are Kaggle's."""
    counts = _pairs(table)
    drivers = sorted({driver for driver, _ in counts})
    total = sum(counts.values())
    found = f"{total:,} labelled images of {len(drivers)} drivers"
    complaints = []
    absent = [c for c in CLASS_IDS if not any(counts[driver, c] for driver in drivers)]
    if absent:
        complaints.append(f"no image of {', '.join(absent)}: these classes can be neither learnt nor reported")
    gaps = [
        f"{d} ({', '.join(m)})" for d in drivers if (m := [c for c in CLASS_IDS if not counts[d, c]]) and m != absent
    ]
    if gaps:
        more = f" and {len(gaps) - _SHOWN} more" if len(gaps) > _SHOWN else ""
        complaints.append(f"drivers without some class: {', '.join(gaps[:_SHOWN])}{more}")
    if len(drivers) < MIN_DRIVERS:
        complaints.append(f"{len(drivers)} drivers: differences between variants are not testable under {MIN_DRIVERS}")
    if set(drivers) == set(SUBJECTS) and total != KAGGLE_LABELLED:
        complaints.append(f"a part of Kaggle's {KAGGLE_LABELLED:,} frames: numbers do not compare with published ones")
    return Verdict(not complaints, False, "; ".join([found, *complaints]) + ".")


def check_bad_files(result: IngestResult) -> Verdict:
    """Expect at most `max_bad_share` of the rows to be unusable."""
    bad, limit = result.counts["bad"], f"{result.max_bad_share:.0%}"
    if not bad:
        return Verdict(True, True, "every image can be used.")
    kinds = Counter(status for status in result.table["status"].to_pylist() if status != "ok")
    found = f"{bad:,} bad images ({result.bad_share:.2%}, limit {limit}): "
    found += ", ".join(f"{count:,} {status}" for status, count in kinds.most_common())
    if result.acceptable:
        return Verdict(True, True, f"{found}. They are left out.")
    return Verdict(
        False,
        True,
        f"{found}. Results would not stand for the data set. Mend what images_problems.json in the data root lists, "
        "then: dagster asset materialize --select images",
    )


def check_folds(table: pa.Table) -> Verdict:
    """Expect that no driver and no byte-identical image is on both sides of any fold, and that no fold is missing."""
    leaks, missing = examine_folds(labelled(table))
    if leaks or missing:
        return Verdict(False, bool(leaks), " ".join(leaks or missing))
    return Verdict(True, True, "no driver and no byte-identical image is on both sides of a fold.")


def counts_markdown(table: pa.Table) -> str:
    """Return usable labelled images by driver (row, with split and fold) and class (column)."""
    counts = _pairs(table)
    good = labelled(table)
    places = {
        row["subject"]: (row["split"], row["fold"]) for row in good.select(["subject", "split", "fold"]).to_pylist()
    }
    lines = [
        f"| driver | split | fold | {' | '.join(CLASS_IDS)} | all |",
        "|---|---|---|" + "---:|" * (len(CLASS_IDS) + 1),
    ]
    for driver, (split, fold) in sorted(places.items()):
        cells = [counts[driver, c] for c in CLASS_IDS]
        lines.append(f"| {driver} | {split} | {fold} | {' | '.join(map(str, [*cells, sum(cells)]))} |")
    totals = [sum(counts[driver, c] for driver in places) for c in CLASS_IDS]
    lines.append(f"| all | | | {' | '.join(map(str, [*totals, sum(totals)]))} |")
    return "\n".join(lines)


def _pairs(table: pa.Table) -> Counter[tuple[str, str]]:
    good = labelled(table)
    return Counter(zip(good["subject"].to_pylist(), good["classname"].to_pylist(), strict=True))
