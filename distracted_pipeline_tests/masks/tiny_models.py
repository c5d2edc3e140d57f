"""Every kind of universal model and a semantic one, small, with real processors, and outputs that find something."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    CLIPTokenizer,
    EomtConfig,
    EomtDinov3Config,
    EomtDinov3ForUniversalSegmentation,
    EomtForUniversalSegmentation,
    MaskFormerConfig,
    MaskFormerForInstanceSegmentation,
    OneFormerConfig,
    OneFormerForUniversalSegmentation,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SwinConfig,
)
from transformers.models.eomt.image_processing_pil_eomt import EomtImageProcessorPil
from transformers.models.maskformer.image_processing_pil_maskformer import MaskFormerImageProcessorPil
from transformers.models.oneformer.image_processing_pil_oneformer import OneFormerImageProcessorPil
from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil

from distracted_pipeline_tests.masks.conftest import LABELS, save_tiny_mask2former
from distracted_pipeline_tests.masks.reference import scene

NAMES: dict[str, Any] = {"id2label": dict(enumerate(LABELS)), "label2id": {label: i for i, label in enumerate(LABELS)}}
EDGES = {"shortest_edge": 80, "longest_edge": 107}


def _swin() -> SwinConfig:
    stages = ["stage1", "stage2", "stage3", "stage4"]
    return SwinConfig(
        image_size=64, embed_dim=16, depths=[1] * 4, num_heads=[1, 1, 2, 2], window_size=4, out_features=stages
    )


def _maskformer(folder: Path) -> None:
    decoder = {
        "model_type": "detr", "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "num_queries": 12,
    }  # fmt: skip
    config = MaskFormerConfig(
        backbone_config=_swin(), fpn_feature_size=32, mask_feature_size=32, decoder_config=decoder, **NAMES
    )
    MaskFormerForInstanceSegmentation(config).save_pretrained(folder)
    MaskFormerImageProcessorPil(size={"height": 64, "width": 96}).save_pretrained(folder)


def _oneformer(folder: Path) -> None:
    config = OneFormerConfig(
        backbone_config=_swin(), num_queries=12, conv_dim=32, mask_dim=32, hidden_dim=32, encoder_feedforward_dim=32,
        dim_feedforward=32, encoder_layers=1, decoder_layers=2, num_attention_heads=2, query_dec_layers=1,
        text_encoder_width=32, text_encoder_num_layers=1, text_encoder_vocab_size=54, task_seq_len=30,
        text_encoder_context_length=30, **NAMES,
    )  # fmt: skip
    OneFormerForUniversalSegmentation(config).save_pretrained(folder)
    OneFormerImageProcessorPil(size=EDGES, num_text=4).save_pretrained(folder)
    # As published: the names for training are in a file of the hub.
    processor = json.loads((folder / "preprocessor_config.json").read_text())
    hub = {"repo_path": "shi-labs/oneformer_demo", "class_info_file": "coco_panoptic.json"}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor | hub))
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[]).save_pretrained(folder)


def _eomt(folder: Path, dino: int = 2) -> None:
    size: dict[str, Any] = {
        "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 96, "patch_size": 16,
        "num_queries": 12, "num_blocks": 2, "num_upscale_blocks": 2,
    }  # fmt: skip
    if dino == 2:
        EomtForUniversalSegmentation(EomtConfig(**size, **NAMES)).save_pretrained(folder)
    else:
        config = EomtDinov3Config(**size, intermediate_size=64, **NAMES)
        EomtDinov3ForUniversalSegmentation(config).save_pretrained(folder)
    edges = {"shortest_edge": 96, "longest_edge": 96}
    EomtImageProcessorPil(size=edges, do_pad=True).save_pretrained(folder)


KINDS: dict[str, Callable[[Path], object]] = {
    "mask2former": save_tiny_mask2former,
    "maskformer": _maskformer,
    "oneformer": _oneformer,
    "eomt": _eomt,
    "eomt_dinov3": lambda folder: _eomt(folder, dino=3),
}


def save_tiny(kind: str, folder: Path) -> Path:
    """Save model and processor in `folder`; return it."""
    torch.manual_seed(0)
    KINDS[kind](folder)
    return folder


def save_tiny_semantic(folder: Path) -> Path:
    """Save a semantic model, a Segformer, with its processor in `folder`; return it."""
    torch.manual_seed(0)
    config = SegformerConfig(
        hidden_sizes=[8, 8, 8, 8], depths=[1] * 4, num_attention_heads=[1] * 4, decoder_hidden_size=16, **NAMES
    )
    SegformerForSemanticSegmentation(config).save_pretrained(folder)
    SegformerImageProcessorPil(size={"height": 96, "width": 96}).save_pretrained(folder)
    return folder


def make_sure(model: nn.Module) -> None:
    """Lay a scene under what a model says, so that it finds the same few things whatever its random weights are."""

    laid: dict[torch.Size, list[Tensor]] = {}  # kept: what a GPU records cannot wait for numbers from the CPU

    def scenes(size: torch.Size, made: Callable[[], Sequence[Tensor]], device: torch.device) -> list[Tensor]:
        if size not in laid:
            laid[size] = [each.to(device) for each in made()]
        return laid[size]

    def lay(module: nn.Module, args: object, output: Any) -> None:
        if hasattr(output, "logits"):
            size, device = output.logits.shape[1:], output.logits.device
            random = torch.Generator().manual_seed(0)
            (logits,) = scenes(size, lambda: [torch.randn(size, generator=random).cumsum(1).cumsum(2)], device)
            output.logits = output.logits.clamp(-2, 2) + logits
            return
        queries, size = output.class_queries_logits.shape[1], output.masks_queries_logits.shape[2:]
        classes, masks = scenes(
            size,
            lambda: scene(6, queries, confident=7, labels=len(LABELS), size=size),
            output.masks_queries_logits.device,
        )
        output.class_queries_logits = output.class_queries_logits.clamp(-0.5, 0.5) + classes
        output.masks_queries_logits = output.masks_queries_logits.clamp(-2, 2) + masks

    model.register_forward_hook(lay)
