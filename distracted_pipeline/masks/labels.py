"""From a model's label names to the six categories.

Belongs here: names only. What a model predicts per pixel is `postprocess`.
"""

import re
from collections.abc import Mapping

import numpy as np

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.vocabulary import MASK_CATEGORIES

ALIASES: Mapping[str, str] = {
    "human": "person",
    "people": "person",
    "cellphone": "cell phone",
    "mobile phone": "cell phone",
    "mug": "cup",
    "automobile": "car",
}
"""Other names of the categories; anything else must match COCO's name ("dining table" is no chair)."""


def category_table(id2label: Mapping[int, str], model: str) -> tuple[np.ndarray, list[str]]:
    """Return the category of every label id, and the categories that the model does not know.

    A label matches by whole name, whatever its case; of "car, auto, automobile" each part is a name.

    Args:
        id2label: The model config's labels.
        model: Name of the model, for the message.

    Returns:
        Category ids uint8 `[max label id + 1]` (0: none of the six), and names out of `MASK_CATEGORIES`.

    Raises:
        DistractedError: Not one of the six categories is among the labels.
    """
    table = np.zeros(max(id2label, default=0) + 1, np.uint8)
    for label, text in id2label.items():
        for part in re.split(r"[,;/]", text):
            name = re.sub(r"[\s_-]+", " ", part).strip().casefold()
            name = ALIASES.get(name, name)
            if name in MASK_CATEGORIES:
                table[label] = MASK_CATEGORIES.index(name) + 1
    missing = [name for number, name in enumerate(MASK_CATEGORIES, 1) if number not in table]
    if len(missing) == len(MASK_CATEGORIES):
        some = ", ".join(list(id2label.values())[:8])
        raise DistractedError(
            f"the segmenter {model} knows none of {', '.join(MASK_CATEGORIES)}: its labels are {some}, … "
            "Set DISTRACTED_SEGMENTER to a model trained on COCO, Pascal VOC or ADE20K, or give it those label names "
            "in id2label of its config.json; then type: distracted doctor"
        )
    return table, missing
