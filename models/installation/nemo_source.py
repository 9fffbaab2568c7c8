"""Step of an installation that makes a model of a .nemo file: restored by NeMo, exported, compared with NeMo.

It loads NeMo and torch when they are first needed: that takes 13 s and 700 MB.
"""

import importlib
import importlib.util
import tarfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from models.installation.progress import Say, step
from models.registry import OwnModel, Record
from shared.domain.errors import ModelInstallError
from shared.domain.models import ModelCard, RecogniserCard

Card = ModelCard | RecogniserCard

#: Architecture -> module that exports it; what has none comes with Timbre.
EXPORTERS = {"titanet": "models.installation.export", "nemo_ctc": "models.installation.export_ctc"}
#: Architecture -> words for the parity of its record.
PARITIES = {"titanet": "1 - cosine", "nemo_speaker": "1 - cosine", "nemo_ctc": "difference of a log probability"}
#: Least speech for a voiceprint of an own model: that of TitaNet.
_LEAST_SPEECH_S = 1.0
#: A .nemo file does not say it.
_LICENCE = "not stated"


def require_nemo() -> None:
    """Make sure that NeMo can be loaded, without loading it; raises ModelInstallError."""
    if importlib.util.find_spec("nemo") is None:
        raise ModelInstallError("Installing a NeMo model needs NeMo and torch; `make models` sets them up.")


def convert_known(card: Card, nemo_file: Path, sha256: str, folder: Path, say: Say) -> Record:
    """Write the networks of a model that a manifest knows into `folder`, and return its record.

    Raises
    ------
    ModelInstallError
        The file is not the model that the card describes, or its export computes something else.
    """
    export = _exporter(EXPORTERS[card.architecture], nemo_file, say)
    with step("Restoring the model", say):
        model = export.restore(nemo_file, card)
    return _export(export, model, card, sha256, folder, say)


def convert_own(name: str, nemo_file: Path, sha256: str, folder: Path, say: Say) -> Record:
    """Write the networks of any speaker model into `folder`, and return its record with its card.

    Parameters
    ----------
    name : where the file came from, for the card.

    Raises
    ------
    ModelInstallError
        NeMo cannot restore the file, it is no model that can be exported, or its export computes something else.
    """
    export = _exporter("models.installation.export", nemo_file, say)
    with step("Restoring the model", say):
        model = export.restore_own(nemo_file)
        own = OwnModel(
            architecture="nemo_speaker",
            dimension=export.dimension_of(model),
            sample_rate_hz=model.cfg.preprocessor.sample_rate,
            min_speech_s=_LEAST_SPEECH_S,
            licence=_LICENCE,
            source=name,
            features=vars(export.mel_of(model)),
        )
    return replace(_export(export, model, own.card(folder.name), sha256, folder, say), own=own)


def _exporter(module: str, nemo_file: Path, say: Say) -> Any:
    if not tarfile.is_tarfile(nemo_file):
        raise ModelInstallError("The file is not a .nemo file: it is no tar archive, or it is cut short.")
    with step("Loading NeMo", say):
        return importlib.import_module(module)


def _export(export: Any, model: Any, card: Card, sha256: str, folder: Path, say: Say) -> Record:
    with step("Exporting to ONNX, and comparing with NeMo", say):
        parity = export.export_checked(model, card, folder)
    return Record.of(folder, export.FILES, sha256=sha256, nemo_version=version("nemo-toolkit"), parity=parity)
