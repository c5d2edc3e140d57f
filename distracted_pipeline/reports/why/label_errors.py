"""Labels in doubt: how many, of which classes, and the strongest cases in pictures."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from PIL import Image

from distracted_pipeline.evaluation.label_errors import (
    by_class,
    label_errors_file,
    label_errors_inputs,
    read_label_errors,
)
from distracted_pipeline.figures.formats import slug
from distracted_pipeline.files import create_folder
from distracted_pipeline.fingerprints import is_current
from distracted_pipeline.images.decode import ImageReader, decode_image
from distracted_pipeline.reports.data_card import reviewed
from distracted_pipeline.reports.why.section import Section
from distracted_pipeline.settings import Settings

if TYPE_CHECKING:
    from distracted_pipeline.reports.site import Site

SHOWN: Final = 8
_WIDTH: Final = 240


def _results(settings: Settings) -> Mapping[str, str]:
    path = label_errors_file(settings)
    if not path.is_file():
        return {}
    inputs = label_errors_inputs(settings)
    return {"label_errors": inputs if is_current([path], inputs) else ""}


def _say(site: "Site", names: Sequence[str]) -> dict[str, Any]:
    settings = site.report.settings
    found = read_label_errors(settings)
    counts = by_class(found, len(settings.dataset.class_ids))
    create_folder(site.folder / "pictures" / "doubted")
    with ImageReader(settings.data) as reader:
        cases = [(row, _draw(site, reader, row)) for row in found.slice(0, SHOWN).to_pylist()]
    return {
        "in_doubt": found.num_rows,
        "share": found.num_rows / len(site.report.images),
        "unanimous": sum(row["votes_suggested"] == row["votes"] for row in found.to_pylist()),
        "pairs": sorted(
            ((int(n), k, other) for k, row in enumerate(counts) for other, n in enumerate(row) if n), reverse=True
        )[:SHOWN],
        "cases": cases,
        "reviewed": reviewed(settings),
    }


def _draw(site: "Site", reader: ImageReader, row: Mapping[str, Any]) -> str:
    image = decode_image(reader.bytes(row["path"]), row["path"])
    if image.width > _WIDTH:
        image = image.resize((_WIDTH, round(image.height * _WIDTH / image.width)), Image.Resampling.BILINEAR)
    place = f"pictures/doubted/{slug(row['img'])}.jpg"
    image.save(site.folder / place, "JPEG", quality=80)
    return place


SECTION = Section(
    name="label_errors",
    title="Labels in doubt",
    question="Which frames are perhaps labelled wrongly?",
    results=_results,
    say=_say,
    by_variant=False,
)
