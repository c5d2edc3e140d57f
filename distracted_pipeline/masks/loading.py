"""The segmenter in force, ready to run.

Belongs here: the choice between the implementations, which load torch only when one of them needs it.
"""

from pathlib import Path

from distracted_pipeline.masks.identity import given_folder, hub_revision, masks_are_given, segmenter_fingerprint
from distracted_pipeline.masks.segmenter import Segmenter
from distracted_pipeline.settings import Settings


def load_segmenter(settings: Settings, device: str = "auto", precision: str = "auto") -> Segmenter:
    """Return the segmenter that `DISTRACTED_SEGMENTER` names, ready to run.

    Args:
        settings: `segmenter` is a Hugging Face id, a local model folder, or `folder:PATH` of class maps.
        device: As in `assets.compute.DeviceConfig`.
        precision: As in `assets.compute.DeviceConfig`.

    Raises:
        DistractedError: The model or folder is not there, or knows none of the six categories.
    """
    if masks_are_given(settings):
        from distracted_pipeline.masks.label_maps import GivenMasks

        return GivenMasks(given_folder(settings), segmenter_fingerprint(settings))
    from distracted_pipeline.masks.models import load_model

    revision = None if Path(settings.segmenter).is_dir() else hub_revision(settings.segmenter)
    return load_model(settings.segmenter, revision, segmenter_fingerprint(settings), device, precision)
