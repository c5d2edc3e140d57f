"""Where the raw data lies: finds the frames of a data root and their labels, by the reader that its data set names.

The readers are `kaggle` and `listed`. A demo that was not drawn to its end has none yet.
"""

from pathlib import Path

from distracted_pipeline.advice import RUN, typed
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import read_json
from distracted_pipeline.images import kaggle, listed
from distracted_pipeline.images.frames import Source
from distracted_pipeline.settings import Settings

DEMO_STAMP = "demo.json"
"""Says what the demo's generator draws or has drawn in a data root; complete only when everything is there."""


def finish_demo(root: Path) -> str:
    """Return the command that goes on with a demo that was killed while it was drawn; empty where there is none."""
    stamp = read_json(root / DEMO_STAMP)
    if stamp is None or stamp.get("complete"):
        return ""
    chosen = "".join(f" --{name} {stamp[name]}" for name in ("drivers", "frames", "seed") if name in stamp)
    return f"distracted demo --data {typed(root)}{chosen}"


def require_finished(root: Path) -> None:
    """Fail at a demo that was killed while it was drawn: part of the frames would be taken for all.

    Raises:
        DistractedError: It was; says what to type.
    """
    if command := finish_demo(root):
        raise DistractedError(f"{root}: this demo was not finished. Go on with it: {command}")


def find_source(settings: Settings) -> Source:
    """Return the frames and the label files of a data root. Close the source after use.

    Raises:
        DistractedError: No such folder, an unfinished demo, no frames, no label file, or something that cannot be read.
    """
    root, source = settings.data, Source()
    require_finished(root)
    reader = settings.dataset.labels.reader
    download = kaggle.DOWNLOAD if reader == "kaggle" else f"Put the frames of {settings.dataset.name} there."
    if not root.exists():
        raise DistractedError(f"the data root {root} does not exist. Create it. {download}")
    if not root.is_dir():
        raise DistractedError(
            f"the data root {root} is a file, but what is derived from the images goes there too. Give the folder that "
            f"it lies in: {RUN} --data {root.parent}"
        )
    try:
        if reader == "kaggle":
            kaggle.find(root, settings.dataset, source)
        else:
            listed.find(root, settings.dataset, source)
    except OSError as error:
        raise DistractedError(
            f"{error.filename or root} cannot be read ({error.strerror}). Check its permissions, then: {RUN}"
        ) from error
    return source
