"""The segmenter in force, ready to run.

Belongs here: the choice between the implementations, which load torch only when one of them needs it.
"""

from pathlib import Path

from distracted_pipeline.masks.identity import (
    hub_revision,
    maps_folder,
    masks_are_given,
    panoptic_json,
    segmenter_fingerprint,
)
from distracted_pipeline.masks.segmenter import Segmenter
from distracted_pipeline.settings import Settings


def load_segmenter(settings: Settings, device: str = "auto", precision: str = "auto") -> Segmenter:
    """Return the segmenter that `DISTRACTED_SEGMENTER` names, ready to run.

    Args:
        settings: `segmenter` is a Hugging Face id, a local model folder, or `folder:PATH` of class maps or
            of a COCO panoptic export.
        device: As in `RunOptions`.
        precision: As in `RunOptions`.

    Raises:
        DistractedError: The model or folder is not there, or the model knows none of the data set's categories.
    """
    categories, fingerprint = settings.dataset.categories, segmenter_fingerprint(settings)
    if masks_are_given(settings):
        from distracted_pipeline.masks.coco import read_panoptic
        from distracted_pipeline.masks.label_maps import GivenMasks

        folder = maps_folder(settings)
        found = panoptic_json(folder)
        panoptic = read_panoptic(found, categories) if found else None
        return GivenMasks(folder, fingerprint, len(categories), panoptic)
    from distracted_pipeline.masks.pretrained import load_model

    revision = None if Path(settings.segmenter).is_dir() else hub_revision(settings.segmenter)
    size = settings.segmenter_size
    return load_model(settings.segmenter, revision, fingerprint, categories, device, precision, size)
