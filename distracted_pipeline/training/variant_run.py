"""The MLflow run of a variant, above those of its trainings: its recipe, written once, by which variants are compared.

Belongs here: what the recipe is, and finding or creating the run when the first training opens. Does not belong here:
the variant's numbers and verdicts (`evaluation.parent_runs`), a training's own run (`tracking`).
"""

from pathlib import Path
from typing import TYPE_CHECKING

from distracted_pipeline.files import locked
from distracted_pipeline.fingerprints import fingerprint
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import NOT_RECIPE, VariantConfig

if TYPE_CHECKING:
    from mlflow import MlflowClient

ROLE = "distracted.role"
"""Tag by which a variant's run is found again: `variant`, or `earlier recipe` once another one took its place."""

VARIANT, EARLIER = "variant", "earlier recipe"

RECIPE = "distracted.recipe"
"""Tag with the fingerprint of a variant's parameters, which MLflow lets nobody change: another recipe, another run."""

ROOT = "distracted.root"
"""Tag with the data root, on a server alone: a store inside a data root moves with it and names no folder."""

PARENT = "mlflow.parentRunId"


def recipe_of(settings: Settings, config: VariantConfig, counts: tuple[int, int]) -> dict[str, str]:
    """Return what all trainings of a variant have in common, by parameter; options that it leaves open are not in it.

    Args:
        settings: Gives the backbone, where the variant names none.
        config: The variant.
        counts: How many parameters of the network learn, and how many there are.
    """
    options = config.model_dump(mode="json", exclude={*NOT_RECIPE, "model_name"}, exclude_none=True)
    backbone = {"backbone": _name(config.model_name or settings.backbone)} if config.taps else {}
    trainable, total = counts
    facts = {**options, **backbone, "trainable_parameters": trainable, "total_parameters": total}
    return {key: str(value) for key, value in facts.items()}


def root_tags(settings: Settings) -> dict[str, str]:
    """Return the tag that tells this data root's runs from others; none in its own store."""
    return {ROOT: str(settings.data)} if settings.mlflow else {}


def of_this_root(settings: Settings) -> list[str]:
    """Return `root_tags` as conditions of a search."""
    return [f"tags.`{key}` = '{value}'" for key, value in root_tags(settings).items()]


def variant_run(
    settings: Settings, client: "MlflowClient", experiment: str, name: str, recipe: dict[str, str], started: int
) -> str:
    """Return the id of the run of a variant with a recipe; create it where there is none, once.

    Args:
        settings: Gives the data root, whose lock is taken.
        client: Of the store.
        experiment: Its id.
        name: The variant's.
        recipe: From `recipe_of`.
        started: When the training that asks began, in milliseconds since 1970.
    """
    from mlflow.entities import Param

    mark = fingerprint(recipe)
    where = [f"tags.variant = '{name}'", f"tags.`{RECIPE}` = '{mark}'", *of_this_root(settings)]
    with locked(settings.data / "mlflow.lock", what="the MLflow store"):
        found = client.search_runs([experiment], " and ".join(where), max_results=1)
        if found:
            return str(found[0].info.run_id)
        tags = {ROLE: VARIANT, RECIPE: mark, "variant": name, **root_tags(settings)}
        run_id = client.create_run(experiment, start_time=started, run_name=name, tags=tags).info.run_id
        client.log_batch(run_id, params=[Param(key, value) for key, value in recipe.items()])
        client.set_terminated(run_id, end_time=started)  # nothing runs in it; its trainings have runs of their own
        return str(run_id)


def _name(model: str) -> str:
    """Return a hub id as it is, and a folder's name without its place, which may change."""
    return Path(model).name if Path(model).is_absolute() else model
