"""Croissant metadata (MLCommons, version 1.0) beside an export: which files there are, and what stands in them.

Belongs here: the vocabulary, and one document from its parts. Which files an export has is said by the export. What
only a publisher knows (address, licence, creators, date) is left out, but for State Farm's own frames.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from distracted_pipeline.checksums import file_digest
from distracted_pipeline.dataset import STATE_FARM, Category
from distracted_pipeline.files import write_text
from distracted_pipeline.settings import FOLDER_PREFIX, Settings

CROISSANT: Final = "croissant.json"

Json = dict[str, Any]

_CONTEXT: Final[Json] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""As the specification gives it, word for word."""

_STATE_FARM: Final[Json] = {
    "url": "https://www.kaggle.com/competitions/state-farm-distracted-driver-detection",
    "license": "https://www.kaggle.com/competitions/state-farm-distracted-driver-detection/rules",
    "creator": {"@type": "sc:Organization", "name": "State Farm"},
    "citeAs": "State Farm Distracted Driver Detection, Kaggle, 2016.",
}
"""Whose frames they are. Masks and answers are of a model, under the licence of its weights."""


def file_set(name: str, includes: str, encoding: str, description: str) -> Json:
    """Return the entry of many files: all that fit a pattern, relative to the document.

    Args:
        name: Of what is in them, e.g. `masks`; also that of their `pictures`.
        includes: The pattern, e.g. `*.png`.
        encoding: Their MIME type.
        description: What they are.
    """
    return {
        "@type": "cr:FileSet",
        "@id": _files(name),
        "name": _files(name),
        "description": description,
        "encodingFormat": encoding,
        "includes": includes,
    }


def file_object(path: Path, encoding: str, description: str) -> Json:
    """Return the entry of one file beside the document, with its digest."""
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "description": description,
        "contentUrl": path.name,
        "encodingFormat": encoding,
        "sha256": file_digest(path),
    }


def pictures(name: str, what: str, suffix: str = "") -> Json:
    """Return the records of a file set of pictures: the image that each belongs to, and its pixels.

    Args:
        name: As the file set's.
        what: What a picture shows.
        suffix: What a picture's name has behind that of its image.
    """

    def source(prop: str) -> Json:
        return {"fileSet": {"@id": _files(name)}, "extract": {"fileProperty": prop}}

    named = source("filename")
    if suffix:
        named["transform"] = {"regex": f"^(.*){re.escape(suffix)}$"}
    fields = (
        _field(name, "img", "sc:Text", "The name of the image.", named),
        _field(name, "picture", "sc:ImageObject", what, source("content")),
    )
    return _record_set(name, what, fields)


def columns(table: Path, described: Sequence[tuple[str, str, str]], description: str) -> Json:
    """Return the records of a csv.

    Args:
        table: The csv; its name without suffix is that of the records.
        described: Column, type (`sc:Text`, `sc:Integer`, `sc:Float`) and meaning.
        description: What a row is.
    """
    fields = [
        _field(table.stem, column, kind, meaning, {"fileObject": {"@id": table.name}, "extract": {"column": column}})
        for column, kind, meaning in described
    ]
    return _record_set(table.stem, description, fields)


def listed(name: str, rows: Sequence[tuple[str | int, str]], description: str) -> Json:
    """Return records that stand in the document itself: an id and a name each."""
    kind = "sc:Integer" if all(isinstance(key, int) for key, _ in rows) else "sc:Text"
    fields = [_field(name, "id", kind, "As in the files."), _field(name, "name", "sc:Text", "What it means.")]
    data = [{f"{name}/id": key, f"{name}/name": words} for key, words in rows]
    return {**_record_set(name, description, fields), "key": {"@id": f"{name}/id"}, "data": data}


def mask_ids(categories: Sequence[Category]) -> Json:
    """Return the records that say what the ids of masks mean."""
    rows = list(enumerate(("none", *(category.name for category in categories))))
    return listed("categories", rows, "What the ids in masks mean.")


def write_croissant(
    settings: Settings, path: Path, description: str, distribution: Sequence[Json], record_sets: Sequence[Json]
) -> Path:
    """Write the document of an export and return its path.

    Args:
        settings: Name the data set and the segmenter.
        path: Where; file names in it count from there.
        description: What was exported.
        distribution: Its files: `file_set`, `file_object`.
        record_sets: What stands in them.
    """
    drawn = " The frames are drawn, not photographed." if settings.synthetic else ""
    segmenter = settings.segmenter.removeprefix(FOLDER_PREFIX)
    segmenter = Path(segmenter).name if Path(segmenter).is_dir() else segmenter  # no path of this machine
    photographed = settings.dataset.name == STATE_FARM.name and not settings.synthetic
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": settings.dataset.name,
        "description": f"{description} Masks by {segmenter}.{drawn}",
        **(_STATE_FARM if photographed else {}),
        "distribution": [*distribution],
        "recordSet": [*record_sets],
    }
    write_text(path, json.dumps(document, indent=2) + "\n")
    return path


def _files(name: str) -> str:
    return f"{name}-files"  # nothing may share an id, so records and their files differ


def _field(records: str, name: str, kind: str, description: str, source: Json | None = None) -> Json:
    field = {
        "@type": "cr:Field",
        "@id": f"{records}/{name}",
        "name": name,
        "description": description,
        "dataType": kind,
    }
    return {**field, "source": source} if source else field


def _record_set(name: str, description: str, fields: Sequence[Json]) -> Json:
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "description": description, "field": [*fields]}
