"""Builds a small TitaNet through NeMo itself, so that installing a model can be tested without NVIDIA's weights.

The weights are random, but the statistics of its batch normalisation are taken from real speech: a raw random network
gives nearly the same vector whatever it hears, which would hide errors.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from nemo.collections.asr.models import EncDecSpeakerLabelModel
from omegaconf import OmegaConf

from tests.support.nemo_files import PREPROCESSOR
from tests.support.speech import read_clips

_CALIBRATION_SAMPLES = 48_000


def build_titanet_nemo(path: Path, *, dimension: int = 192, filters: int = 32, channels: int = 96) -> None:
    """Write a TitaNet with `filters` filters a layer and `channels` channels at the end to the .nemo file `path`.

    The real large one has 1024 and 3072, the small one 256 and 1536.
    """
    torch.manual_seed(7)
    model = EncDecSpeakerLabelModel(OmegaConf.create(_config(dimension, filters, channels)))
    _calibrate(model)
    model.eval().save_to(str(path))


def _config(dimension: int, filters: int, channels: int) -> dict[str, Any]:
    modules = "nemo.collections.asr.modules"
    middle = [_block(filters, kernel, repeat=3, residual=True) for kernel in (7, 11, 15)]
    return {
        "sample_rate": 16_000,
        "preprocessor": PREPROCESSOR,
        "encoder": {
            "_target_": f"{modules}.ConvASREncoder",
            "feat_in": 80,
            "activation": "relu",
            "conv_mask": True,
            "jasper": [_block(filters, 3), *middle, _block(channels, 1)],
        },
        "decoder": {
            "_target_": f"{modules}.SpeakerDecoder",
            "feat_in": channels,
            "num_classes": 8,
            "pool_mode": "attention",
            "emb_sizes": dimension,
            "angular": True,
        },
        "loss": {"_target_": "nemo.collections.asr.losses.angularloss.AngularSoftmaxLoss", "scale": 30, "margin": 0.2},
    }


def _block(filters: int, kernel: int, *, repeat: int = 1, residual: bool = False) -> dict[str, Any]:
    return {
        "filters": filters,
        "repeat": repeat,
        "kernel": [kernel],
        "stride": [1],
        "dilation": [1],
        "dropout": 0.0,
        "residual": residual,
        "separable": True,
        "se": True,
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
