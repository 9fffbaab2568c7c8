"""Export a .nemo file of a Conformer-CTC recogniser to ONNX and a vocabulary, and check that they give NeMo's text.

It needs NeMo and torch. Only installation uses it, never a running worker.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nemo.collections.asr.models import EncDecCTCModelBPE
from numpy.typing import NDArray

from models.installation import nemo_file
from models.installation.trial_signals import trial_signals
from models.nemo_ctc import NETWORK_FILE, VOCABULARY_FILE, NemoCtc, Vocabulary
from shared.domain.audio import Samples
from shared.domain.errors import ModelInstallError
from shared.domain.models import RecogniserCard

#: Names of the files that are written.
FILES = (NETWORK_FILE, VOCABULARY_FILE)

#: Largest accepted difference of a log probability between NeMo and the exported network.
MAX_PARITY_ERROR = 1e-2
#: Frames of random output by which texts are compared: with them a vocabulary of 1024 pieces comes up five times.
_TRIAL_FRAMES = 5_000


def restore(path: Path, card: RecogniserCard) -> EncDecCTCModelBPE:
    """Restore a .nemo file with NeMo, ready for inference.

    Raises
    ------
    ModelInstallError
        NeMo cannot restore it, or it is no Conformer-CTC with SentencePiece's word pieces.
    """
    expected = {
        "target": "EncDecCTCModelBPE",
        "encoder._target_": "ConformerEncoder",
        "decoder._target_": "ConvASRDecoder",
        "tokenizer.type": "bpe",
        **nemo_file.FRONT_END,
    }
    return nemo_file.restore(path, EncDecCTCModelBPE, expected, card.handle)


def export_checked(model: EncDecCTCModelBPE, card: RecogniserCard, folder: Path) -> float:
    """Write network and vocabulary into `folder`; return the largest difference of a log probability to `model`.

    Raises
    ------
    ModelInstallError
        A log probability is further from NeMo's than `MAX_PARITY_ERROR`, or NeMo reads another text from the same ones.
    """
    _vocabulary(model).write(folder / VOCABULARY_FILE)
    network = _Recogniser(model.encoder, model.decoder)
    free = {0: "batch", 1: "frames"}
    nemo_file.trace(network, model.cfg.encoder.feat_in, folder / NETWORK_FILE, "features", {"log_probs": free})
    exported = NemoCtc(card, folder)
    references = [(samples, reference_log_probs(model, samples)) for samples in trial_signals()]
    errors = [_difference(exported.log_probs(samples), reference) for samples, reference in references]
    # This comparison also refuses NaN.
    if not all(error <= MAX_PARITY_ERROR for error in errors):
        raise ModelInstallError(
            f"The export does not compute what NeMo does: log probabilities differ by up to {max(errors):.1e}."
        )
    _check_texts(model, exported.vocabulary, [reference for _, reference in references])
    return max(errors)


def reference_log_probs(model: EncDecCTCModelBPE, samples: Samples) -> NDArray[np.float32]:
    """Return NeMo's own log probabilities of a recording at 16 kHz, shape (num_frames, num_pieces + 1)."""
    signal = torch.from_numpy(samples)[None]
    with torch.inference_mode():
        log_probs, lengths, _ = model.forward(input_signal=signal, input_signal_length=torch.tensor([len(samples)]))
    return log_probs[0, : int(lengths[0])].numpy()


def reference_text(model: EncDecCTCModelBPE, log_probs: NDArray[np.float32]) -> str:
    """Return the text that NeMo reads from log probabilities, shape (num_frames, num_pieces + 1)."""
    decoded = model.decoding.ctc_decoder_predictions_tensor(torch.from_numpy(log_probs)[None])
    return " ".join(decoded[0].text.split())


def _vocabulary(model: EncDecCTCModelBPE) -> Vocabulary:
    processor = model.tokenizer.tokenizer
    pieces = [_written(processor, number) for number in range(processor.get_piece_size())]
    return Vocabulary(pieces=pieces, punctuation="".join(sorted(model.decoding.supported_punctuation)))


def _written(processor: Any, number: int) -> str:
    # SentencePiece writes the piece of unknown characters in this way, and nothing for marks such as the end.
    if processor.is_unknown(number):
        return " \u2047 "
    return "" if processor.is_control(number) else processor.id_to_piece(number)


def _difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    # Another number of frames or pieces is no small difference either.
    return float(np.abs(one - other).max()) if one.shape == other.shape else float("inf")


def _check_texts(model: EncDecCTCModelBPE, vocabulary: Vocabulary, heard: Sequence[NDArray[np.float32]]) -> None:
    # A trained network hears no words in noise: random output tries all pieces, in any order.
    outputs = len(vocabulary.pieces) + 1
    random = np.random.default_rng(outputs).normal(size=(_TRIAL_FRAMES, outputs)).astype(np.float32)
    for log_probs in (*heard, random):
        if vocabulary.text(log_probs) != reference_text(model, log_probs):
            raise ModelInstallError("The export does not write what NeMo does: the tokenizer joins pieces otherwise.")


class _Recogniser(torch.nn.Module):
    """NeMo's encoder and CTC decoder for unpadded features."""

    def __init__(self, encoder: torch.nn.Module, decoder: torch.nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return log probabilities (batch, frames, num_pieces + 1) of features (batch, 80, time)."""
        encoded = self.encoder(audio_signal=features, length=nemo_file.full_length(features))[0]
        return self.decoder(encoder_output=encoded)
