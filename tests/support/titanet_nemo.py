"""Builds small speaker models through NeMo itself, so that installing can be tested without NVIDIA's weights.

The weights are random, but the statistics of its batch normalisation are taken from real speech: a raw random network
gives nearly the same vector whatever it hears, which would hide errors.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nemo.collections.asr.models import EncDecSpeakerLabelModel
from omegaconf import OmegaConf

from tests.support.nemo_files import PREPROCESSOR
from tests.support.speech import read_clips

_CALIBRATION_SAMPLES = 48_000
_MODULES = "nemo.collections.asr.modules"


def build_titanet_nemo(path: Path, *, dimension: int = 192, filters: int = 32, channels: int = 96) -> None:
    """Write a TitaNet with `filters` filters a layer and `channels` channels at the end to the .nemo file `path`.

    The real large one has 1024 and 3072, the small one 256 and 1536.
    """
    build_conv_nemo(path, emb_sizes=dimension, filters=filters, channels=channels)


def build_conv_nemo(
    path: Path,
    *,
    emb_sizes: int | list[int] = 192,
    filters: int = 32,
    channels: int = 96,
    pool_mode: str = "attention",
    se: bool = True,
    conv_mask: bool = True,
    num_classes: int = 8,
    preprocessor: Mapping[str, Any] | None = None,
) -> None:
    """Write a speaker model with a convolutional encoder: TitaNet, or SpeakerNet without squeeze and excitation."""
    middle = [_block(filters, kernel, repeat=3, residual=True, se=se) for kernel in (7, 11, 15)]
    heard = PREPROCESSOR | dict(preprocessor or {})
    encoder = {
        "_target_": f"{_MODULES}.ConvASREncoder",
        "feat_in": heard["features"],
        "activation": "relu",
        "conv_mask": conv_mask,
        "jasper": [_block(filters, 3, se=se), *middle, _block(channels, 1, se=se)],
    }
    _build(path, heard, encoder, _decoder(channels, emb_sizes, pool_mode, num_classes))


def build_ecapa_nemo(path: Path, *, filters: int = 32, pool_mode: str = "attention", dimension: int = 64) -> None:
    """Write an ECAPA-TDNN as NeMo has it; the real one has 1024 filters, 3072 channels and 192 dimensions."""
    encoder = {
        "_target_": f"{_MODULES}.ECAPAEncoder",
        "feat_in": 80,
        "filters": [filters, filters, filters, filters, 3 * filters],
        "kernel_sizes": [5, 3, 3, 3, 1],
        "dilations": [1, 1, 1, 1, 1],
        "scale": 8,
    }
    _build(path, PREPROCESSOR, encoder, _decoder(3 * filters, dimension, pool_mode, 8))


def _decoder(channels: int, emb_sizes: int | list[int], pool_mode: str, num_classes: int) -> dict[str, Any]:
    return {
        "_target_": f"{_MODULES}.SpeakerDecoder",
        "feat_in": channels,
        "num_classes": num_classes,
        "pool_mode": pool_mode,
        "emb_sizes": emb_sizes,
        "angular": True,
    }


def _build(path: Path, preprocessor: Mapping[str, Any], encoder: dict[str, Any], decoder: dict[str, Any]) -> None:
    torch.manual_seed(7)
    parts = {"sample_rate": 16_000, "preprocessor": dict(preprocessor), "encoder": encoder, "decoder": decoder}
    loss = {"_target_": "nemo.collections.asr.losses.angularloss.AngularSoftmaxLoss", "scale": 30, "margin": 0.2}
    model = EncDecSpeakerLabelModel(OmegaConf.create({**parts, "loss": loss}))
    _calibrate(model)
    model.eval().save_to(str(path))


def _block(filters: int, kernel: int, *, repeat: int = 1, residual: bool = False, se: bool = True) -> dict[str, Any]:
    return {
        "filters": filters,
        "repeat": repeat,
        "kernel": [kernel],
        "stride": [1],
        "dilation": [1],
        "dropout": 0.0,
        "residual": residual,
        "separable": True,
        "se": se,
        "se_context_size": -1,
    }


def _calibrate(model: EncDecSpeakerLabelModel) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            # None: the plain mean over all batches seen, here one.
            module.momentum = None
    speech = torch.from_numpy(np.stack([clip.samples[:_CALIBRATION_SAMPLES] for clip in read_clips()]))
    with torch.no_grad():
        model.train().forward(input_signal=speech, input_signal_length=torch.full((len(speech),), _CALIBRATION_SAMPLES))
