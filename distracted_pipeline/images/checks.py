"""What is expected of a manifest: enough of everything, few bad files, folds that keep drivers apart."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

import pyarrow as pa

from distracted_pipeline.advice import materialize
from distracted_pipeline.checks import Check
from distracted_pipeline.dataset import Dataset
from distracted_pipeline.images.decisions import FILE, in_words
from distracted_pipeline.images.folds import examine_folds
from distracted_pipeline.images.ingest import PROBLEMS_NAME, IngestResult
from distracted_pipeline.images.likeness import ALIKE, BITS
from distracted_pipeline.images.manifest import labelled
from distracted_pipeline.images.neighbours import MOST_KEPT
from distracted_pipeline.images.problems import DROPPED, OK
from distracted_pipeline.testability import needed_drivers

_SHOWN: Final = 5
_LISTED: Final = 100


def check_counts(table: pa.Table, dataset: Dataset, reviewed: Mapping[str, int] | None = None) -> Check:
    """Expect every class from every driver, enough drivers, and all frames where their number is known.

    Args:
        table: The manifest.
        dataset: Its classes and drivers.
        reviewed: How many decisions about labels are in force; they are said.
    """
    counts = _pairs(table)
    drivers = sorted({driver for driver, _ in counts})
    total = sum(counts.values())
    found = f"{total:,} labelled images of {len(drivers)} drivers"
    complaints = []
    absent = [c for c in dataset.class_ids if not any(counts[driver, c] for driver in drivers)]
    if absent:
        complaints.append(f"no image of {', '.join(absent)}: these classes can be neither learnt nor reported")
    lacking = {d: [c for c in dataset.class_ids if not counts[d, c]] for d in drivers}
    gaps = [f"{d} ({', '.join(classes)})" for d, classes in lacking.items() if classes and classes != absent]
    if gaps:
        more = f" and {len(gaps) - _SHOWN} more" if len(gaps) > _SHOWN else ""
        complaints.append(f"drivers without some class: {', '.join(gaps[:_SHOWN])}{more}")
    classes = len(dataset.class_ids)
    if len(drivers) < needed_drivers(classes):
        complaints.append(
            f"{len(drivers)} drivers: differences between variants are not testable under {needed_drivers(classes)}, "
            f"what {classes} classes of one variant take"
        )
    if dataset.frames and set(drivers) == set(dataset.drivers) and total != dataset.frames:
        complaints.append(
            f"a part of the {dataset.frames:,} frames of {dataset.name}: numbers do not compare with published ones"
        )
    said = [found, *filter(None, [in_words(reviewed or {})]), *complaints]
    return Check("counts", not complaints, "; ".join(said) + ".", severity="WARN")


def check_bad_files(result: IngestResult) -> Check:
    """Expect every row to be usable: a warning up to `max_bad_share` of them, an error beyond it.

    Its facts count the bad files, and list the first of them with what is wrong and what to do.
    """
    name = "bad_files"
    bad, limit = result.counts["bad"], f"{result.max_bad_share:.0%}"
    if not bad:
        return Check(name, True, "every image can be used.", facts={"bad_files": 0})
    kinds = Counter(status for status in result.table["status"].to_pylist() if status not in (OK, DROPPED))
    found = f"{bad:,} bad images ({result.bad_share:.2%}, limit {limit}): "
    found += ", ".join(f"{count:,} {status}" for status, count in kinds.most_common())
    files = [{"file": one.where, "what": one.what, "remedy": one.remedy} for one in result.problems[:_LISTED]]
    facts = {"bad_files": bad, "files": files}
    first = f" Such as {result.problems[0]}" if result.problems else ""
    if result.acceptable:
        return Check(name, False, f"{found}. They are left out.{first}", severity="WARN", facts=facts)
    return Check(
        name,
        False,
        f"{found}. Results would not stand for the data set.{first} Mend what {PROBLEMS_NAME} in the data root lists, "
        f"then: {materialize('images')}",
        facts=facts,
    )


def check_folds(table: pa.Table) -> Check:
    """Expect that no driver and no byte-identical image is on both sides of any fold, and that no fold is missing."""
    name = "driver_disjoint_folds"
    leaks, missing = examine_folds(labelled(table))
    if leaks or missing:
        return Check(name, False, " ".join(leaks or missing), severity="ERROR" if leaks else "WARN")
    return Check(name, True, "no driver and no byte-identical image is on both sides of a fold.")


def check_neighbours(pairs: pa.Table, *, drawn: bool = False) -> Check:
    """Expect that no frames of two drivers look the same: one of them would be on both sides of a fold.

    Args:
        pairs: From `neighbours.find_neighbours`.
        drawn: The frames are drawings, which share one cabin.
    """
    name, limit = "near_duplicates", f"{ALIKE} of {BITS} bits of their looks"
    if drawn:
        return Check(name, True, "drawn frames share one cabin and look alike: nothing is concluded from it.")
    if not len(pairs):
        return Check(name, True, f"no two frames of different drivers differ in {limit} or less.", facts={"pairs": 0})
    rows = pairs.to_pylist()
    first = rows[0]
    more = " or more" if len(rows) == MOST_KEPT else ""
    found = (
        f"{len(rows):,}{more} pairs of frames of different drivers differ in {limit} or less, first {first['img']} "
        f"of {first['subject']} and {first['other']} of {first['other_subject']} ({first['distance']} bits). Look at "
        f"them: where both show one driver, correct the label files; where one frame is a copy of the other, drop one "
        f"of them (a line in {FILE}). Then: {materialize('images')}"
    )
    table = [{key: str(value) for key, value in row.items()} for row in rows[:_LISTED]]
    return Check(name, False, found, severity="WARN", facts={"pairs": len(rows), "closest": table})


def counts_markdown(table: pa.Table, dataset: Dataset) -> str:
    """Return usable labelled images by driver (row, with split and fold) and class (column)."""
    counts = _pairs(table)
    good = labelled(table)
    places = {
        row["subject"]: (row["split"], row["fold"]) for row in good.select(["subject", "split", "fold"]).to_pylist()
    }
    classes = dataset.class_ids
    lines = [
        f"| driver | split | fold | {' | '.join(classes)} | all |",
        "|---|---|---|" + "---:|" * (len(classes) + 1),
    ]
    for driver, (split, fold) in sorted(places.items()):
        cells = [counts[driver, c] for c in classes]
        lines.append(f"| {driver} | {split} | {fold} | {' | '.join(map(str, [*cells, sum(cells)]))} |")
    totals = [sum(counts[driver, c] for driver in places) for c in classes]
    lines.append(f"| all | | | {' | '.join(map(str, [*totals, sum(totals)]))} |")
    return "\n".join(lines)


def _pairs(table: pa.Table) -> Counter[tuple[str, str]]:
    good = labelled(table)
    return Counter(zip(good["subject"].to_pylist(), good["classname"].to_pylist(), strict=True))
