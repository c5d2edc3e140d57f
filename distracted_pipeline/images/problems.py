"""What can be wrong with raw data, in words: the status of a manifest row and the remedy for it.

`kaggle`, `listed`, `labels`, `decode` and `rows` find problems; here are the words for them.
"""

from dataclasses import dataclass
from typing import Final

from distracted_pipeline.dataset import DATASET_FILE, SUBJECT_RULE
from distracted_pipeline.errors import DistractedError

OK: Final = "ok"

DROPPED: Final = "dropped by review"
"""Status of a good frame that a person decided to leave out (`decisions`): neither usable nor bad."""

REMEDIES: Final[dict[str, str]] = {
    # Rows of the label files.
    "incomplete row": "Give the row an image, a class and a driver, or delete it.",
    "not UTF-8": "Save the file as UTF-8, or delete the row.",
    "unsafe image name": "Give only the file's name, without folders or control characters.",
    "unsafe path": "Give the path below the data root: with / between folders, without .., : and control characters, "
    "200 characters at most.",
    "pattern": f"Correct the path, or `pattern` under `labels` in {DATASET_FILE}.",
    "no subject": "Name the driver: folds need to know whose frame it is; or delete the row and the file.",
    "unsafe subject": SUBJECT_RULE,
    "unknown class": "Correct the class, or delete the row and the file.",
    "duplicated row": "Delete one of the rows; the first one counts.",
    "two labels": "Keep the row that is right and delete the others.",
    # Files and rows that do not fit each other.
    "no file": "Copy the image there again, or delete its row.",
    "no csv row": "Add its row to the csv, or delete the file.",
    "folder disagrees": "Move the file to the folder of its class, or correct the row.",
    "name used twice": "Rename one of the files: an image is known by its name.",
    "nested folder": "Move its images up into the class folder.",
    # Content of files.
    "empty file": "Copy the image there again.",
    "not a JPEG": "Replace it by the JPEG that belongs there, or delete it and its row.",
    "truncated": "Copy the image there again.",
    "damaged": "Copy the image there again.",
    "too large": "Scale the image down, or delete it and its row.",
    "unreadable": "Check that the file can be read (permissions, disk).",
    "same image, two drivers": "Find out whose frame it is and delete the other: it would leak between folds.",
    "same image, two classes": "Find out which class is right and delete the other.",
    "outdated decision": "Decide anew (distracted review), or delete the line.",
}
"""Status of a row that is not ok (or kind of problem, where the row stays usable) -> what to do."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        where: File, relative to the data root.
        row: Line of the label file, counted from 1; None where no line is concerned.
        what: What is wrong there, with the value.
        remedy: What to do about it.
        status: The kind of problem, a key of `REMEDIES`.
    """

    where: str
    row: int | None
    what: str
    remedy: str
    status: str

    def __str__(self) -> str:
        place = self.where if self.row is None else f"{self.where} (label row {self.row})"
        return f"{place}: {self.what}. {self.remedy}"


def problem(status: str, where: str, row: int | None, what: str) -> Problem:
    """Return the problem of kind `status` with its remedy."""
    return Problem(where=where, row=row, what=what, remedy=REMEDIES[status], status=status)


class ImageProblem(DistractedError):
    """One image cannot be used; the others can.

    Attributes:
        where: Path of the image, as in the manifest.
        status: A key of `REMEDIES`.
        what: What is wrong with it.
    """

    def __init__(self, where: str, status: str, what: str) -> None:
        super().__init__(f"{where}: {what}. {REMEDIES[status]}")
        self.where = where
        self.status = status
        self.what = what
