"""Where the raw data lies: finds the frames of a data root and their labels, by the reader that its data set names.

The readers are `kaggle` and `listed`.
"""

from distracted_pipeline.advice import RUN
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images import kaggle, listed
from distracted_pipeline.images.frames import Source
from distracted_pipeline.settings import Settings


def find_source(settings: Settings) -> Source:
    """Return the frames and the label files of a data root. Close the source after use.

    Raises:
        DistractedError: No such folder, no frames, no label file, or something that cannot be read.
    """
    root, source = settings.data, Source()
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
