"""Where masks come from, and into which cache they may go.

Belongs here: the segmenter in force, loaded late; its cache; its precision. Filling the cache is `engine`.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.decode import ImageReader
from distracted_pipeline.images.problems import ImageProblem
from distracted_pipeline.masks.agreement import IMAGES, Reducible, measure, record, recorded
from distracted_pipeline.masks.cache import REMEDY, MaskCache
from distracted_pipeline.masks.identity import masks_are_given, segmenter_fingerprint, segmenter_identity
from distracted_pipeline.masks.loading import load_segmenter
from distracted_pipeline.masks.segmenter import Segmenter
from distracted_pipeline.settings import Settings

Log = Callable[[str], object]


@dataclass(frozen=True)
class Source:
    """Where masks come from: the segmenter in the settings, loaded when the first mask is missing.

    Attributes:
        settings: Name it.
        given: Stands in for it.
        device: As in `DeviceConfig`, or what returns that once a model is needed.
        precision: As in `DeviceConfig`.
        log: Receives a line about what was loaded.
    """

    settings: Settings
    given: Segmenter | None
    device: str | Callable[[], str]
    precision: str
    log: Log

    @cached_property
    def segmenter(self) -> Segmenter:
        """The segmenter, ready to run; in the precision of the masks that are there, unless told otherwise."""
        if self.given:
            return self.given
        device = self.device
        if callable(device):
            device = "cpu" if masks_are_given(self.settings) else device()
        before = str(self.cache.about().get("precision") or "auto")
        segmenter = load_segmenter(self.settings, device, before if self.precision == "auto" else self.precision)
        model = [
            str(value) for value in (getattr(segmenter, "device", ""), getattr(segmenter, "precision", "")) if value
        ]
        where = f" on {', '.join(model)}" if model else ""
        unknown = getattr(segmenter, "categories_missing", [])
        self.log(f"masks by {segmenter.name}{where}" + (f"; it does not know {', '.join(unknown)}" if unknown else ""))
        return segmenter

    @cached_property
    def cache(self) -> MaskCache:
        """The cache of its masks."""
        fingerprint = self.given.fingerprint if self.given else segmenter_fingerprint(self.settings)
        return MaskCache(self.settings.masks / fingerprint, fingerprint)

    def about(self) -> dict[str, Any]:
        """Return what the fingerprint stands for."""
        identity = {} if self.given else segmenter_identity(self.settings)
        precision = str(getattr(self.segmenter, "precision", ""))
        return {
            "fingerprint": self.cache.fingerprint,
            "segmenter": self.segmenter.name,
            "precision": precision,
            **identity,
        }

    def begin(self) -> None:
        """Make the cache's folder ready for masks of this segmenter.

        Precision is no part of the fingerprint, for readers of the cache cannot know what `auto` was on another
        machine; so the first mask decides it, and no other precision is taken.

        Raises:
            DistractedError: The masks that are there are of another precision.
        """
        mine = self.about()
        there, precision = self.cache.write_about(mine).get("precision", mine["precision"]), mine["precision"]
        if there != precision:
            raise DistractedError(
                f"{self.cache.root} holds masks made in {there}, so none in {precision} are added: they would differ "
                f"a little. Set precision to auto or {there}, or delete that folder to begin anew; then type: {REMEDY}"
            )

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
            agreement = measure(segmenter, list(images.values()), list(images))
            record(root, agreement)
            self.log(agreement.text())
