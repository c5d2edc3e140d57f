"""Two small pictures of a training: its curve, and a confusion matrix with rows and columns by class id.

For MLflow and Dagster's metadata; the report draws its own. matplotlib loads when a picture is drawn. Places of axes
are fixed: letting matplotlib find them draws everything twice, for every training.
"""

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from distracted_pipeline.vocabulary import CLASS_IDS, CLASSES

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion_figure(true: np.ndarray, predicted: np.ndarray, title: str) -> "Figure":
    """Return a matrix of counts, true classes down, predicted across, both in Kaggle's order."""
    from matplotlib.figure import Figure

    counts = np.zeros((len(CLASS_IDS), len(CLASS_IDS)), int)
    np.add.at(counts, (true, predicted), 1)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = Figure(figsize=(7, 5.5), dpi=80)
    axes = figure.add_axes((0.31, 0.1, 0.66, 0.84))
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(counts):
        colour = "white" if share[row, column] > 0.6 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(CLASS_IDS)), CLASS_IDS)
    axes.set_yticks(range(len(CLASS_IDS)), [f"{key} {words}" for key, words in CLASSES.items()], fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, fontsize=9)
    return figure


def curve_markdown(history: Sequence[dict[str, Any]], best_epoch: int) -> str:
    """Return losses and validation macro recall by epoch as an inline PNG for Dagster's metadata."""
    from matplotlib.figure import Figure

    epochs = [line["epoch"] for line in history]
    figure = Figure(figsize=(4.2, 2.2), dpi=70)
    losses, recalls = (figure.add_axes((left, 0.2, 0.4, 0.68)) for left in (0.08, 0.57))
    losses.plot(epochs, [line["train_loss"] for line in history], "-o", ms=3, label="training")
    losses.plot(epochs, [line["validation_loss"] for line in history], "--s", ms=3, label="validation")
    losses.set_title("cross-entropy", fontsize=8)
    losses.legend(fontsize=6)
    recalls.plot(epochs, [line["validation_macro_recall"] for line in history], "--s", ms=3, color="tab:orange")
    recalls.axvline(best_epoch, color="grey", lw=1)
    recalls.set_title("validation macro recall", fontsize=8)
    recalls.set_ylim(0, 1)
    for axes in (losses, recalls):
        axes.set_xlabel("epoch", fontsize=7)
        axes.tick_params(labelsize=6)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return f"![training curve](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})"
