"""Install a NeMo model: `python -m models.install MODEL [--from PATH_OR_URL] [--weights-dir DIR]`.

The steps: download the .nemo file, restore it with NeMo, and export it to ONNX. Check that the export gives NeMo's own
embeddings, and rename the result into the weights folder. After an error no file of the installation is left, except a
part of the download that can be resumed. Only this program loads NeMo and torch; a running worker needs neither.
"""

import argparse
import importlib.util
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from models import registry
from models.download import Say, fetch
from models.registry import Entry, Record
from models.titanet import DECODER_FILE, ENCODER_FILE
from shared.domain.errors import ModelInstallError
from shared.domain.models import ModelCard


def install(entry: Entry, source: str, weights_dir: Path, say: Say) -> Record:
    """Install the NeMo model at `source`, an http(s) URL or a path, as the model of `entry`; return its record.

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
        folder = scratch / entry.card.handle
        # Outside of the scratch folder, so that a later run can resume the download.
        download = weights_dir / f".{entry.card.handle}.nemo"
        with _step(f"Fetching {source.partition('?')[0]}", say):
            sha256 = fetch(source, download, say, entry.sha256)
        download.rename(nemo_file)
        if not tarfile.is_tarfile(nemo_file):
            raise ModelInstallError("The file is not a .nemo file: it is no tar archive, or it is cut short.")
        record = _convert(entry.card, nemo_file, sha256, folder, say)
        _put_in_place(folder, weights_dir / entry.card.handle, scratch)
    return record


def _convert(card: ModelCard, nemo_file: Path, sha256: str, folder: Path, say: Say) -> Record:
    with _step("Loading NeMo", say):
        # It takes 13 s and 700 MB, so only once the file is here.
        from models import export
    with _step("Restoring the model", say):
        model = export.restore(nemo_file, card)
    with _step("Exporting to ONNX, and comparing with NeMo", say):
        folder.mkdir()
        parity = export.export_checked(model, card, folder)
    record = Record(
        sha256=sha256,
        files={name: registry.sha256_of(folder / name) for name in (ENCODER_FILE, DECODER_FILE)},
        nemo_version=export.NEMO_VERSION,
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
        entry = registry.entry(options.model)
        if registry.is_bundled(entry.card):
            print(f"{entry.card.handle} comes with Timbre; there is nothing to install.")
            return 0
        record = install(entry, options.source or entry.card.source, options.weights_dir, _to_stderr)
    except (ModelInstallError, OSError) as error:
        print(f"{options.model} was not installed. {error}", file=sys.stderr)
        return 1
    _summarise(entry.card.handle, record, options.weights_dir)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models.install", description="Install a NeMo speaker model.")
    parser.add_argument("model", metavar="MODEL", help=f"one of: {', '.join(registry.manifest())}")
    parser.add_argument("--from", dest="source", metavar="PATH_OR_URL", help="a .nemo file, if not the manifest's")
    parser.add_argument("--weights-dir", type=Path, default=registry.WEIGHTS_DIR, metavar="DIR")
    return parser


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _summarise(handle: str, record: Record, weights_dir: Path) -> None:
    default = registry.default_card(weights_dir)
    print(f"Installed {registry.installed_card(handle, weights_dir).model_id} in {weights_dir / handle}")
    print(f"  sha256 of the .nemo file: {record.sha256}")
    print(f"  largest 1 - cosine to NeMo {record.nemo_version}: {record.parity:.1e}")
    print(f"  {default.model_id} is {'now' if default.handle == handle else 'still'} the default")


if __name__ == "__main__":
    sys.exit(main())
