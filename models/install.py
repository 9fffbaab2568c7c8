"""Install a NeMo model: `python -m models.install MODEL [--from PATH_OR_URL] [--weights-dir DIR]`.

The steps: download the .nemo file, restore it with NeMo, and export it to ONNX. Check that the export gives NeMo's own
embeddings, or log probabilities and text. Rename the result into the weights folder. After an error no file of the
installation is left, except a part of the download that can be resumed. Only this program loads NeMo and torch; a
running worker needs neither.
"""

import argparse
import importlib
import importlib.util
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from models import recognisers, registry
from models.download import Say, fetch
from models.registry import Record
from shared.domain.errors import ModelInstallError
from shared.domain.models import ModelCard, RecogniserCard

Card = ModelCard | RecogniserCard

#: Architecture -> module that exports it; what has none comes with Timbre.
_EXPORTERS = {"titanet": "models.export", "nemo_ctc": "models.export_ctc"}
#: Architecture -> words for the parity of its record.
_PARITIES = {"titanet": "1 - cosine", "nemo_ctc": "difference of a log probability"}


def install(card: Card, source: str, weights_dir: Path, say: Say, *, sha256: str | None = None) -> Record:
    """Install the NeMo model at `source`, an http(s) URL or a path, as the model of `card`; return its record.

    Parameters
    ----------
    sha256 : of the file, if that is pinned.

    Raises
    ------
    ModelInstallError
        NeMo is missing, or the file cannot be fetched or has the wrong checksum. Or it is not the model that the card
        describes, or its export gives other embeddings.
    """
    if importlib.util.find_spec("nemo") is None:
        raise ModelInstallError("Installing a NeMo model needs NeMo and torch; `make models` sets them up.")
    weights_dir.mkdir(parents=True, exist_ok=True)
    # Inside the weights folder, so that the last rename stays on one disk.
    with tempfile.TemporaryDirectory(dir=weights_dir, prefix=".installing-") as name:
        scratch = Path(name)
        nemo_file = scratch / "model.nemo"
        folder = scratch / card.handle
        # Outside of the scratch folder, so that a later run can resume the download.
        download = weights_dir / f".{card.handle}.nemo"
        with _step(f"Fetching {source.partition('?')[0]}", say):
            found = fetch(source, download, say, sha256)
        download.rename(nemo_file)
        if not tarfile.is_tarfile(nemo_file):
            raise ModelInstallError("The file is not a .nemo file: it is no tar archive, or it is cut short.")
        record = _convert(card, nemo_file, found, folder, say)
        _put_in_place(folder, weights_dir / card.handle, scratch)
    return record


def _convert(card: Card, nemo_file: Path, sha256: str, folder: Path, say: Say) -> Record:
    with _step("Loading NeMo", say):
        # It takes 13 s and 700 MB, so only once the file is here.
        export = importlib.import_module(_EXPORTERS[card.architecture])
    with _step("Restoring the model", say):
        model = export.restore(nemo_file, card)
    with _step("Exporting to ONNX, and comparing with NeMo", say):
        folder.mkdir()
        parity = export.export_checked(model, card, folder)
    record = Record(
        sha256=sha256,
        files={name: registry.sha256_of(folder / name) for name in export.FILES},
        nemo_version=version("nemo-toolkit"),
        parity=parity,
        installed_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    record.write(folder)
    return record


def _put_in_place(folder: Path, target: Path, scratch: Path) -> None:
    # A folder cannot be renamed onto another, so an older installation is moved into the scratch folder, to be deleted.
    if target.exists():
        target.rename(scratch / "replaced")
    folder.rename(target)


@contextmanager
def _step(name: str, say: Say) -> Iterator[None]:
    say(f"{name} ...")
    start_s = time.monotonic()
    yield
    say(f"  done in {time.monotonic() - start_s:.1f} s")


def main(arguments: Sequence[str] | None = None) -> int:
    """Install the model named on the command line; return 0, or 1 after printing the error."""
    options = _parser().parse_args(arguments)
    try:
        card, sha256 = _known(options.model)
        if card.architecture not in _EXPORTERS:
            print(f"{card.handle} comes with Timbre; there is nothing to install.")
            return 0
        record = install(card, options.source or card.source, options.weights_dir, _to_stderr, sha256=sha256)
    except (ModelInstallError, OSError) as error:
        print(f"{options.model} was not installed. {error}", file=sys.stderr)
        return 1
    _summarise(card, record, options.weights_dir)
    return 0


def _known(handle: str) -> tuple[Card, str | None]:
    """Return the card of that name, and the sha256 of its file if that is pinned; raises ModelInstallError."""
    speakers = registry.manifest()
    others = recognisers.manifest()
    if handle in others:
        return others[handle].card, None
    if handle not in speakers:
        raise ModelInstallError(f"There is no model {handle!r}; the models are {', '.join(_names())}.")
    return speakers[handle].card, speakers[handle].sha256


def _names() -> list[str]:
    return [*registry.manifest(), *recognisers.manifest()]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models.install", description="Install a NeMo model.")
    parser.add_argument("model", metavar="MODEL", help=f"one of: {', '.join(_names())}")
    parser.add_argument("--from", dest="source", metavar="PATH_OR_URL", help="a .nemo file, if not the manifest's")
    parser.add_argument("--weights-dir", type=Path, default=registry.WEIGHTS_DIR, metavar="DIR")
    return parser


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _summarise(card: Card, record: Record, weights_dir: Path) -> None:
    print(f"Installed {card.handle}@{card.revision}.{record.sha256[:8]} in {weights_dir / card.handle}")
    print(f"  sha256 of the .nemo file: {record.sha256}")
    print(f"  largest {_PARITIES[card.architecture]} to NeMo {record.nemo_version}: {record.parity:.1e}")
    if isinstance(card, RecogniserCard):
        print(f"  it recognises speech in: {card.language}")
        return
    default = registry.default_card(weights_dir)
    print(f"  {default.model_id} is {'now' if default.handle == card.handle else 'still'} the default")


if __name__ == "__main__":
    sys.exit(main())
