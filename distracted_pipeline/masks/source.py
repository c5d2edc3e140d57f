"""Where masks come from, and into which cache they may go.

Belongs here: the segmenter in force, loaded late; its cache; its precision. Filling the cache is `fill`.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from distracted_pipeline.cache_folders import PRECISION, claim, precision_of
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.decode import ImageReader
from distracted_pipeline.images.decoders import Decoders, decoders_for
from distracted_pipeline.images.problems import ImageProblem
from distracted_pipeline.masks.agreement import IMAGES, Reducible, measure, record, recorded
from distracted_pipeline.masks.batching import batches_of
from distracted_pipeline.masks.cache import MaskCache, cache_of
from distracted_pipeline.masks.identity import (
    CATEGORIES,
    masks_are_given,
    named_categories,
    segmenter_fingerprint,
    segmenter_identity,
)
from distracted_pipeline.masks.loading import load_segmenter
from distracted_pipeline.masks.segmenter import Compilable, Segmenter
from distracted_pipeline.masks.shards import REMEDY
from distracted_pipeline.memory import Pieces
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings


@dataclass(frozen=True)
class Source:
    """Where masks come from: the segmenter in the settings, loaded when the first mask is missing.

    Attributes:
        settings: Name the segmenter.
        given: Used instead of the one that the settings name.
        options: How it runs; a GPU is claimed when the segmenter is loaded.
    """

    settings: Settings
    given: Segmenter | None
    options: RunOptions

    @cached_property
    def segmenter(self) -> Segmenter:
        """The segmenter, ready to run; in the precision of the masks that are there, unless told otherwise."""
        if self.given:
            return self.given
        maps = masks_are_given(self.settings)
        device = "cpu" if maps else self.options.device_name()
        precision = self.options.precision
        if precision == "auto":
            precision = precision_of(self.cache.root) or "auto"
        doing = "looking at class maps" if maps else "loading the segmentation model"
        self.options.log(f"{doing} {self.settings.segmenter}")
        segmenter = load_segmenter(self.settings, device, precision)
        model = [
            str(value) for value in (getattr(segmenter, "device", ""), getattr(segmenter, "precision", "")) if value
        ]
        where = f" on {', '.join(model)}" if model else ""
        unknown = getattr(segmenter, "categories_missing", [])
        self.options.log(
            f"masks by {segmenter.name}{where}" + (f"; it does not know {', '.join(unknown)}" if unknown else "")
        )
        return segmenter

    @cached_property
    def cache(self) -> MaskCache:
        """The cache of its masks."""
        fingerprint = self.given.fingerprint if self.given else segmenter_fingerprint(self.settings)
        return cache_of(self.settings, fingerprint)

    @cached_property
    def pieces(self) -> Pieces:
        """How many images are a batch: found out once for all subjects."""
        return batches_of(self.options)

    def compile_for(self, images: int) -> None:
        """Compile the segmenter where that pays for so many images."""
        if isinstance(self.segmenter, Compilable):
            self.segmenter.compile_for(images, replace(self.options, kernels=self.settings.kernels))

    def decoders(self, images: int) -> Decoders | None:
        """Return processes that decode so many images beside a GPU; a CPU's cores are busy with the model."""
        if getattr(getattr(self.segmenter, "device", None), "type", "cpu") != "cuda":
            return None
        return decoders_for(self.settings.data, images, self.options.log)

    @cached_property
    def about(self) -> dict[str, Any]:
        """What the fingerprint stands for: found out once, for a folder of class maps is looked through for it."""
        categories = {CATEGORIES: named_categories(self.settings.dataset)}
        return {
            "fingerprint": self.cache.fingerprint,
            "segmenter": self.segmenter.name,
            PRECISION: str(getattr(self.segmenter, "precision", "")),
            **(categories if self.given else segmenter_identity(self.settings)),
        }

    def begin(self) -> None:
        """Make the cache's folder ready for masks of this segmenter.

        Raises:
            DistractedError: The masks that are there are of another precision, or of other categories (which the
                fingerprint of a custom segmenter may leave out).
        """
        mine, there = self.about, self.cache.about()
        if there.get(CATEGORIES, mine[CATEGORIES]) != mine[CATEGORIES]:
            names = ", ".join(name for name, *_ in there[CATEGORIES])
            raise DistractedError(
                f"{self.cache.root} holds masks of other categories ({names}). Give {self.segmenter.name} another "
                f"fingerprint, or delete that folder; then type: {REMEDY}"
            )
        claim(self.cache.root, mine, what="masks", next_command=REMEDY)

    def compare_precision(self, rows: pa.Table) -> None:
        """Record, once for a cache in reduced precision, how far its masks agree with fp32 on some of these images."""
        segmenter, root = self.segmenter, self.cache.root
        if not isinstance(segmenter, Reducible) or segmenter.precision == "fp32" or recorded(root):
            return
        images: dict[str, np.ndarray] = {}
        with ImageReader(self.settings.data) as reader:
            for row in rows.slice(0, IMAGES).to_pylist():
                with suppress(ImageProblem):  # the fill itself will say so
                    images[row["img"]] = reader.rgb(row["path"])
        if images:
            names = self.settings.dataset.category_names
            agreement = measure(segmenter, list(images.values()), list(images), names)
            record(root, agreement)
            self.options.log(agreement.text())
            if warning := agreement.warning(root):
                self.options.log(f"warning: {warning}")
