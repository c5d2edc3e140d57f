"""Grad-CAM: where a network looked for the class it predicted, and for the class it should have.

Batch functions for notebooks and for the stage (`explain`); drawing belongs to `overlays` and `reports`.

    from distracted_pipeline.explanation.gradcam import cams, delta_cam, lift
    from distracted_pipeline.settings import load_settings
    from distracted_pipeline.training.checkpoint import load_trained
    from distracted_pipeline.training.inputs import load_inputs

    settings = load_settings()
    trained = load_trained(settings, "top_only", "0")
    batch = load_inputs(settings, trained.net.map_inputs, ["img_100026.jpg"], model_name=trained.config.model_name)
    maps = cams(trained.net, batch, torch.tensor([[0, 5]]))  # [image, class, h, w]: c0 beside c5

Method: the last map before pooling times the gradient of a class score, summed over channels, negative parts
dropped. Where a head pools by mean, the gradient is the same everywhere and this is Grad-CAM (Selvaraju et al., ICCV
2017) to the letter. Where it does not, as in the mask head, Grad-CAM's average over positions is wrong and mostly
empty, and the product per position (HiResCAM, Draelos and Carin 2020) is what the score was made of.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from distracted_pipeline.explanation.maps import delta_cam, lift

if TYPE_CHECKING:
    from distracted_pipeline.variants.networks import VariantNet

__all__ = ["by_gradient", "cams", "closed_form", "contributions", "delta_cam", "explained", "lift", "mask_cams"]


def closed_form(weights: Tensor, activation: Tensor) -> Tensor:
    """Return the Grad-CAMs of every class where logits = weights · mean(activation) + rest.

    The gradient is then the same at every position, weights / (h · w), so no backward pass is needed.

    Args:
        weights: [class, channel].
        activation: [B, channel, h, w].

    Returns:
        [B, class, h, w], not negative.
    """
    area = activation.shape[-2] * activation.shape[-1]
    return torch.einsum("kc,bchw->bkhw", weights / area, activation).relu()


def by_gradient(net: "VariantNet", batch: dict[str, Tensor], target: Tensor) -> Tensor:
    """Return the CAM of one class per image, by a backward pass down to the activation map.

    Args:
        net: In eval mode.
        batch: What `net.map_inputs` names; the tap `net.map_tap()` may stand in for pixels.
        target: Class positions, int64 [B].

    Returns:
        [B, h, w], not negative.
    """
    return _gradients(net, batch, target[:, None])[0][:, 0]


def cams(net: "VariantNet", batch: dict[str, Tensor], targets: Tensor) -> Tensor:
    """Return the CAMs of several classes per image, as `explained`, without the logits."""
    return explained(net, batch, targets)[0]


def explained(net: "VariantNet", batch: dict[str, Tensor], targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the CAMs of several classes per image, in closed form where the network allows it, and all logits.

    Where a network reads masks beside the image, these CAMs are of the image branch alone (`contributions`).

    Args:
        net: In eval mode.
        batch: What `net.map_inputs` names; the tap `net.map_tap()` may stand in for pixels.
        targets: Class positions, int64 [B, T].

    Returns:
        CAMs [B, T, h, w], not negative; logits [B, class].
    """
    weights = net.pooled_weights()
    if weights is None:
        return _gradients(net, batch, targets)
    with torch.no_grad():
        logits, activation = net.forward_with_map(batch)
        every_class = closed_form(weights, activation)
        return every_class[torch.arange(len(targets), device=targets.device)[:, None], targets], logits


def contributions(net: "VariantNet", batch: dict[str, Tensor], logits: Tensor) -> Tensor | None:
    """Return what image and masks each give to every logit; None for a network with one branch.

    The classifier is linear in both, so a logit is the sum of the two and the bias.

    Args:
        net: In eval mode.
        batch: As for `explained`.
        logits: Of the batch, [B, class].

    Returns:
        [B, 2, class], image first.
    """
    if len(net.map_inputs) < 2:
        return None
    assert net.mask_head is not None
    with torch.no_grad():
        of_masks = net.mask_head(batch["fractions"]) @ net.classifier.weight[:, net.pooled_width :].T
        return torch.stack([logits - of_masks - net.classifier.bias, of_masks], 1)


def mask_cams(net: "VariantNet", batch: dict[str, Tensor], targets: Tensor) -> Tensor | None:
    """Return the CAMs of the mask branch beside those of the image; None for a network with one branch.

    What the mask head reads of a category anywhere in the frame, its strongest cell and its area, has no place and is
    not in them.

    Args:
        net: In eval mode.
        batch: As for `explained`.
        targets: Class positions, int64 [B, T].

    Returns:
        [B, T, h, w], not negative, on the mask head's grid.
    """
    if len(net.map_inputs) < 2:
        return None
    head, fractions = net.mask_head, batch["fractions"]
    assert head is not None
    with torch.no_grad():
        activation = head.maps(fractions)
    with torch.enable_grad():
        logits = head.describe(activation.requires_grad_(), fractions) @ net.classifier.weight[:, net.pooled_width :].T
        return _by_position(logits, activation, targets)


def _gradients(net: "VariantNet", batch: dict[str, Tensor], targets: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        # A loaded network is frozen throughout, and without a gradient at the input there would be none at the map.
        logits, activation = net.forward_with_map({name: x.detach().requires_grad_() for name, x in batch.items()})
        return _by_position(logits, activation, targets), logits.detach()


def _by_position(logits: Tensor, activation: Tensor, targets: Tensor) -> Tensor:
    scores, found = logits.gather(1, targets).sum(0), []
    for i, score in enumerate(scores):
        (gradient,) = torch.autograd.grad(score, activation, retain_graph=i + 1 < len(scores))
        found.append((gradient * activation.detach()).sum(1).relu())
    return torch.stack(found, 1)
