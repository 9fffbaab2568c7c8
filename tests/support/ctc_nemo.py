"""Builds a small Conformer-CTC recogniser through NeMo itself, to test installation without NVIDIA's weights.

Its weights are random. Batch normalisation takes its statistics from real speech, and the output layer is scaled, so
that its nonsense depends on what it hears: two recordings are two texts.
"""

import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import sentencepiece
import torch
from nemo.collections.asr.models import EncDecCTCModelBPE
from omegaconf import OmegaConf

from tests.support.nemo_files import PREPROCESSOR
from tests.support.speech import read_clips

_CALIBRATION_SAMPLES = 48_000
_SENTENCES = (
    "über die grüne wiese läuft ein kleiner fuchs",
    "der müller mahlt am mühlbach süßes mehl",
    "wer heute zählt wird morgen weiter zählen",
    "eine stimme ist so eigen wie ein finger",
    "so geht's auf und ab am see",
)


def build_ctc_nemo(path: Path, *, seed: int = 7, pieces: int = 48, in_bytes: bool = False) -> None:
    """Write a Conformer-CTC of two layers of width 32 with a tokenizer of `pieces` pieces to the .nemo file `path`.

    A large one of NVIDIA has 18 layers of width 512, and 128 to 1024 pieces.

    Parameters
    ----------
    in_bytes : whether the tokenizer has a piece for each byte, which NVIDIA's have not.
    """
    torch.manual_seed(seed)
    with TemporaryDirectory() as folder:
        _train_tokenizer(Path(folder), pieces, in_bytes)
        model = EncDecCTCModelBPE(OmegaConf.create(_config(folder)))
        _calibrate(model)
        model.eval().save_to(str(path))


def _train_tokenizer(folder: Path, pieces: int, in_bytes: bool) -> None:
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_SENTENCES * 4),
        model_writer=trained,
        vocab_size=pieces,
        byte_fallback=in_bytes,
        model_type="bpe",
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(trained.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue())
    words = [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
    (folder / "vocab.txt").write_text("\n".join(words[1:]) + "\n")


def _config(tokenizer: str) -> dict[str, Any]:
    modules = "nemo.collections.asr.modules"
    return {
        "sample_rate": 16_000,
        "tokenizer": {"dir": tokenizer, "type": "bpe"},
        "preprocessor": PREPROCESSOR | {"pad_to": 0},
        "encoder": {
            "_target_": f"{modules}.ConformerEncoder",
            "feat_in": 80,
            "n_layers": 2,
            "d_model": 32,
            "subsampling": "striding",
            "subsampling_factor": 4,
            "ff_expansion_factor": 4,
            "self_attention_model": "rel_pos",
            "n_heads": 4,
            "xscaling": True,
            "untie_biases": True,
            "conv_kernel_size": 31,
            "conv_norm_type": "batch_norm",
        },
        "decoder": {"_target_": f"{modules}.ConvASRDecoder", "feat_in": None, "num_classes": -1, "vocabulary": []},
        "decoding": {"strategy": "greedy_batch"},
    }


def _calibrate(model: EncDecCTCModelBPE) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            # None: the plain mean over all batches seen, here one.
            module.momentum = None
    speech = torch.from_numpy(np.stack([clip.samples[:_CALIBRATION_SAMPLES] for clip in read_clips()]))
    with torch.no_grad():
        model.train().forward(input_signal=speech, input_signal_length=torch.full((len(speech),), _CALIBRATION_SAMPLES))
        model.decoder.decoder_layers[0].weight.mul_(20.0)
