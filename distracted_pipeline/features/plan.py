"""Which taps a subject needs: those that the catalogue's variants read, per backbone.

Belongs here: the plan. Computing and storing is `taps`.
"""

from dataclasses import dataclass, field

from distracted_pipeline.features.taps import TapStore
from distracted_pipeline.images.manifest import labelled, of_subject, read_manifest
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.backbones import why_unsupported
from distracted_pipeline.variants.config import load_catalogue


@dataclass
class Filled:
    """What `fill_subject` did.

    Attributes:
        images: Labelled images of the subject.
        computed: Taps written now, with the backbone's fingerprint.
        reused: Taps that were there.
        skipped: Why variants of the catalogue get nothing.
        bytes: Size on disk.
        seconds: Wall time.
    """

    images: int = 0
    computed: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    bytes: int = 0
    seconds: float = 0.0


def wanted_taps(settings: Settings) -> tuple[dict[str | None, list[str]], list[str]]:
    """Return the taps by backbone (None: the settings' one), and why variants get none, a sentence each.

    `pooled` is always among them: every variant with a backbone standardises its inputs by it.
    """
    taps: dict[str | None, list[str]] = {}
    skipped = []
    for config in load_catalogue(settings).values():
        if not config.taps:
            continue
        reason = why_unsupported(settings, config)
        if reason:
            skipped.append(f"{config.name}: {reason}")
            continue
        wanted = taps.setdefault(config.model_name, ["pooled"])
        # Over a checkpoint's body, taps are made of the pixels when it trains.
        read = ("pixels",) if config.checkpoint else config.taps
        wanted += [tap for tap in read if tap not in wanted]
    return taps, skipped


def is_filled(settings: Settings, subject: str) -> bool:
    """Tell whether `fill_subject` would have nothing to do; true for shards of unlabelled images."""
    if not labelled(of_subject(read_manifest(settings), subject)).num_rows:
        return True
    taps, _ = wanted_taps(settings)
    stores = {TapStore(settings, model_name): names for model_name, names in taps.items()}
    return all(store.described() and not store.missing(subject, names) for store, names in stores.items())


def fill_subject(
    settings: Settings,
    subject: str,
    options: RunOptions = RunOptions(),
) -> Filled:
    """Compute what is missing of a labelled subject's taps for every variant of the catalogue.

    Shards of unlabelled images get none.

    Raises:
        DistractedError: As `TapStore.ensure`.
    """
    taps, skipped = wanted_taps(settings)
    filled = Filled(skipped=skipped)
    filled.images = labelled(of_subject(read_manifest(settings), subject)).num_rows
    for model_name, names in taps.items() if filled.images else ():
        store = TapStore(settings, model_name)
        done = store.ensure(subject, names, options)
        filled.computed += [f"{store.fingerprint}/{tap}" for tap in done.computed]
        filled.reused += [f"{store.fingerprint}/{tap}" for tap in done.reused]
        filled.bytes += done.bytes
        filled.seconds += done.seconds
    return filled
