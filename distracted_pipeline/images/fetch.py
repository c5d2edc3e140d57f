"""`distracted fetch`: Kaggle's data through kagglehub, which knows credentials, resumes, and keeps a cache.

Placing Kaggle's zip in the data root by hand is just as good; `ingest` reads either. Nothing is unpacked here.
"""

import shutil
from pathlib import Path

from distracted_pipeline.advice import install
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import atomic_path
from distracted_pipeline.progress import Log
from distracted_pipeline.settings import RAW_CSV, Settings, has_data

COMPETITION = "state-farm-distracted-driver-detection"
_PAGE = f"https://www.kaggle.com/c/{COMPETITION}"
SAMPLE_SUBMISSION = "sample_submission.csv"

STEPS = f"""\
  1. sign in at kaggle.com and accept the rules: {_PAGE}/rules
  2. make an API token under kaggle.com/settings and put it in ~/.kaggle/kaggle.json, or into KAGGLE_API_TOKEN
  3. type `distracted fetch` again; or download the zip in a browser from {_PAGE}/data,
     put it into the data root as it is, and type `distracted run`"""
"""What to do, whichever of the three is missing."""


def fetch(settings: Settings, log: Log = print) -> bool:
    """Download the competition's data (about 4 GB) and link it into the data root; False if data is there already.

    Raises:
        DistractedError: kagglehub is not installed, Kaggle refused or could not be reached; with the three steps.
    """
    if has_data(settings.data):
        return False
    folder = _download()
    images = folder / "imgs"
    if not images.is_dir() or not (folder / RAW_CSV).is_file():
        raise DistractedError(f"{folder} holds no imgs/ and {RAW_CSV}: Kaggle's layout has changed. Then:\n{STEPS}")
    settings.data.mkdir(parents=True, exist_ok=True)
    for name in (RAW_CSV, SAMPLE_SUBMISSION):
        if (folder / name).is_file():
            with atomic_path(settings.data / name) as temporary:
                shutil.copyfile(folder / name, temporary)
    (settings.data / "imgs").symlink_to(images, target_is_directory=True)
    log(f"{settings.data / 'imgs'} is a link to kagglehub's copy in {images}")
    return True


def _download() -> Path:
    try:
        import kagglehub
        from kagglehub.exceptions import KaggleApiHTTPError, UnauthenticatedError
        from requests.exceptions import ConnectionError as NoConnection
        from requests.exceptions import Timeout
    except ImportError as error:
        raise DistractedError(
            f"fetching wants kagglehub ({error}): {install('fetch')}. Without it:\n{STEPS}"
        ) from error
    try:
        return Path(kagglehub.competition_download(COMPETITION))
    except UnauthenticatedError as error:
        raise DistractedError(f"Kaggle asks who you are, and no credentials were found:\n{STEPS}") from error
    except KaggleApiHTTPError as error:
        status = error.response.status_code if error.response is not None else "no status"
        why = "the rules are not accepted, or the token is not valid" if status in (401, 403) else "see Kaggle's status"
        raise DistractedError(f"Kaggle refused the download ({status}): {why}.\n{STEPS}") from error
    except (NoConnection, Timeout) as error:
        raise DistractedError(
            f"Kaggle could not be reached from here ({type(error).__name__}); what was downloaded is kept and the next "
            f"try goes on from there. Without a network, take the zip from another machine:\n{STEPS}"
        ) from error
    except ValueError as error:  # a kaggle.json that is no JSON, or lacks a key
        raise DistractedError(f"{error}:\n{STEPS}") from error
