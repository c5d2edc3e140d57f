"""From a model's label names to the data set's categories.

Belongs here: names only. What a model predicts per pixel is `postprocess`.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from distracted_pipeline.advice import DOCTOR
from distracted_pipeline.dataset import DATASET_FILE, Category
from distracted_pipeline.errors import DistractedError

COCO_LABELS = (80, 133)
"""How many labels COCO has: its things, and these with the stuff of its panoptic labels after them."""


def label_names(id2label: Mapping[int, str]) -> Mapping[int, str]:
    """Return a configuration's label names; COCO's where it holds none, but as many labels as COCO.

    Some published EoMT configurations say how many labels there are and no more.
    """
    if len(id2label) not in COCO_LABELS or any(name != f"LABEL_{label}" for label, name in id2label.items()):
        return id2label
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

    names = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]  # by COCO's own ids, which leave gaps
    things = [name for name in names if name not in ("__background__", "N/A")]
    return dict(id2label) | dict(enumerate(things))


def category_table(
    id2label: Mapping[int, str], model: str, categories: Sequence[Category]
) -> tuple[np.ndarray, list[str]]:
    """Return the category of every label id, and the categories that the model does not know.

    A label matches a category's name or one of its `labels` as a whole, whatever the case ("dining table" is no
    chair); of "car, auto, automobile" each part is a name.

    Args:
        id2label: The model config's labels.
        model: Name of the model, for the message.
        categories: The data set's.

    Returns:
        Category ids uint8 `[max label id + 1]` (0: in no category), and the names of the unknown categories.

    Raises:
        DistractedError: No category is among the labels.
    """
    ids = {
        _plain(name): number
        for number, category in enumerate(categories, start=1)
        for name in (category.name, *category.labels)
    }
    table = np.zeros(max(id2label, default=0) + 1, np.uint8)
    for label, text in id2label.items():
        for part in re.split(r"[,;/]", text):
            table[label] = ids.get(_plain(part), table[label])
    missing = [category.name for number, category in enumerate(categories, start=1) if number not in table]
    if len(missing) == len(categories):
        some = ", ".join(str(name)[:64] for name in list(id2label.values())[:8])
        raise DistractedError(
            f"the segmenter {model} knows none of {', '.join(missing)}: its labels are {some}, … Set "
            "DISTRACTED_SEGMENTER to a model that was trained on these categories (COCO, Pascal VOC and ADE20K have "
            f"people and vehicles), or list the model's names under `labels` of the categories in {DATASET_FILE}; "
            f"then type: {DOCTOR}"
        )
    return table, missing


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()
