"""A data root from a notebook: images, masks, taps, models, predictions and CAMs by name, read when asked for.

    import distracted_pipeline as dp

    root = dp.open("data/demo")
    root.images.groupby("subject").size()
    root.overlay("img_104.jpg")
    root.cam("masks_fused", "img_104.jpg")

Belongs here: short names for what the rooms do. Nothing is computed that a room cannot compute, and nothing is
written. `examples/explore.py` goes through it cell by cell.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from distracted_pipeline.advice import RUN
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.scopes import ORIGINAL_FOLD, canonical_fold
from distracted_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from PIL.Image import Image

    from distracted_pipeline.training.checkpoint import Trained


@dataclass(frozen=True)
class DataRoot:
    """Everything that lies in one data root.

    Attributes:
        settings: Where things are and which models are in force.
    """

    settings: Settings

    @cached_property
    def images(self) -> "pd.DataFrame":
        """The manifest, one row per image."""
        from distracted_pipeline.images.manifest import read_manifest

        return read_manifest(self.settings).to_pandas()

    @property
    def variants(self) -> list[str]:
        """The catalogue's names."""
        from distracted_pipeline.variants.config import load_catalogue

        return list(load_catalogue(self.settings))

    @property
    def class_accuracy(self) -> "pd.DataFrame":
        """One row per scope, variant and class: recall, its interval, what changed against the baseline."""
        from distracted_pipeline.evaluation.tables import read_class_accuracy

        classes = read_class_accuracy(self.settings).classes
        return classes.assign(class_id=[self.settings.dataset.class_ids[k] for k in classes["class_id"]])

    def image(self, img: str) -> "Image":
        """Return one frame, upright, RGB.

        Raises:
            DistractedError: The manifest has no such image.
        """
        from PIL import Image

        from distracted_pipeline.images.decode import ImageReader

        with ImageReader(self.settings.data) as reader:
            return Image.fromarray(reader.rgb(self._row(img)["path"]))

    def mask(self, img: str) -> "np.ndarray":
        """Return one frame's category ids `[H, W]`, uint8: positions in `settings.dataset.mask_names`, 0 is none."""
        from distracted_pipeline.masks.cache import open_cache

        return open_cache(self.settings).mask(img)

    def overlay(self, img: str) -> "Image":
        """Return one frame with its mask drawn over it."""
        from distracted_pipeline.masks.overlays import show

        return show(self.settings, img)

    def taps(self, names: Sequence[str], imgs: Sequence[str]) -> "dict[str, np.ndarray]":
        """Return cached activations of the backbone by tap name, rows in the order of `imgs`.

        Raises:
            DistractedError: A tap has not been filled for these images.
        """
        from distracted_pipeline.features.taps import TapStore

        return TapStore(self.settings).load(names, imgs)

    def model(self, variant: str, fold: str = ORIGINAL_FOLD, replicate: int = 0) -> "Trained":
        """Return one trained network of a fold, in eval mode, with its configuration and history."""
        from distracted_pipeline.training.checkpoint import load_trained

        return load_trained(self.settings, variant, fold, replicate=replicate)

    def predictions(self, variant: str) -> "pd.DataFrame":
        """Return a variant's held-out probabilities, one row per image, fold and training, with class ids in words.

        Raises:
            DistractedError: It has predicted nothing yet.
        """
        import pandas as pd

        from distracted_pipeline.evaluation.prediction_table import REPLICATE, probability_columns

        files = sorted((self.settings.predictions / variant).glob("*.parquet"))
        if not files:
            raise DistractedError(
                f"{variant} has no predictions in {self.settings.predictions}. Type: {RUN} --variant {variant}"
            )
        frame = pd.concat(
            [pd.read_parquet(path).assign(fold=canonical_fold(path.stem)) for path in files], ignore_index=True
        )
        # Files of earlier versions hold one training, and do not number it.
        frame[REPLICATE] = frame[REPLICATE].fillna(0).astype(int) if REPLICATE in frame else 0
        class_ids = self.settings.dataset.class_ids
        columns = probability_columns(class_ids)
        frame["true"] = [class_ids[k] for k in frame["true"]]
        frame["predicted"] = [class_ids[k] for k in frame[columns].to_numpy().argmax(1)]
        return frame

    def cam(
        self, variant: str, img: str, class_id: str | None = None, fold: str = ORIGINAL_FOLD, replicate: int = 0
    ) -> "np.ndarray":
        """Return where a variant looked `[h, w]`, not negative, for a class or for the one it predicts.

        Args:
            variant: A trained variant.
            img: An image of the manifest.
            class_id: One of `settings.dataset.class_ids`; the predicted class by default.
            fold: Which of the variant's models looks; only one that did not train on the driver is evidence.
            replicate: Which of the fold's trainings.
        """
        import torch

        from distracted_pipeline.explanation.gradcam import cams
        from distracted_pipeline.training.inputs import load_inputs

        trained = self.model(variant, fold, replicate)
        batch = load_inputs(self.settings, trained.net.map_inputs, [img], model_name=trained.config.model_name)
        batch = {name: x.to(next(trained.net.parameters()).device) for name, x in batch.items()}
        if class_id is None:
            target = trained.net.forward_with_map(batch)[0].argmax(1, keepdim=True)
        else:
            target = torch.tensor([[self.settings.dataset.class_ids.index(class_id)]])
        return cams(trained.net, batch, target)[0, 0].detach().cpu().numpy()

    def _row(self, img: str) -> "pd.Series":
        found = self.images[self.images["img"] == img]
        if found.empty:
            raise DistractedError(f"no image {img} in {self.settings.manifest}. Type: {RUN}")
        return found.iloc[0]


def open_root(data: str | Path | None = None) -> DataRoot:
    """Return a data root; `data` overrides the setting `DISTRACTED_DATA`.

    Raises:
        DistractedError: There is no manifest in it.
    """
    settings = load_settings(data=data)
    if not settings.manifest.exists():
        raise DistractedError(f"no {settings.manifest} yet. Type: distracted demo, or {RUN} on your own data")
    return DataRoot(settings)
