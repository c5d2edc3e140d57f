"""What the graph begins with and nobody here makes: raw data, and the two pretrained models that the settings name."""

import dagster as dg

from distracted_pipeline.settings import load_settings

DATA = "data"
"""Group of the raw data, the models and the manifest."""

_settings = load_settings()

SOURCES = [
    dg.AssetSpec(
        "raw_data",
        group_name=DATA,
        kinds={"jpeg"},
        description="The frames and their labels as they came: Kaggle's tree or zip, or what `dataset.yaml` describes. "
        "Put them into the data root; `images` reads them in.",
    ),
    dg.AssetSpec(
        "segmenter",
        group_name=DATA,
        kinds={"huggingface"},
        description="The pretrained segmentation model, or masks that exist already: DISTRACTED_SEGMENTER names it.",
        metadata={"model": _settings.segmenter},
    ),
    dg.AssetSpec(
        "backbone",
        group_name=DATA,
        kinds={"huggingface"},
        description="The pretrained image classifier that variants build on: DISTRACTED_BACKBONE names it.",
        metadata={"model": _settings.backbone},
    ),
]
