"""Install a model: `python -m models.install [MODEL] [--from PATH_OR_URL] [--descriptor FILE] [--weights-dir DIR]`.

`models.installation` has the parts. A model that Timbre knows by name is made of a .nemo file, as is any speaker model
of NeMo. Other networks come as an ONNX file with a descriptor. One that finds overlapped speech is an ONNX file alone.
The steps: fetch the file, make the networks and prove or try them, and rename the result into the weights folder. After
an error no file of the installation is left, except a part of the download that can be resumed. A running worker needs
neither NeMo nor torch.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar
from urllib.parse import urlsplit

from models import recognisers, registry, segmentation, tuned
from models.calibration.corpus import SHIPPED, read_manifest
from models.calibration.installed import calibrate_or_say
from models.installation import nemo_source
from models.installation.descriptor import read_descriptor
from models.installation.download import fetch, is_url, public
from models.installation.nemo_source import Card
from models.installation.onnx_source import convert_onnx, require_onnx
from models.installation.progress import Say, step
from models.installation.segmentation_source import convert_segmentation, summary
from models.registry import Record
from models.segmentation import Layout
from shared.domain.errors import CalibrationError, ModelInstallError, SettingsError
from shared.domain.models import VENDOR_MODEL, ModelCard, RecogniserCard
from shared.settings import Settings

_Made = TypeVar("_Made", Record, Layout)
#: Takes the file, its sha256 and the folder to write into; returns the record.
_Convert = Callable[[Path, str, Path], _Made]


_MOST_LETTERS = 40
_HANDLE = re.compile(rf"[a-z0-9][a-z0-9_-]{{0,{_MOST_LETTERS - 1}}}")


@dataclass(frozen=True, kw_only=True)
class _Origin:
    """File that a model is made of."""

    #: An http(s) URL or a path.
    source: str
    #: Ending of its copy's name: `.nemo` or `.onnx`.
    suffix: str
    #: sha256 of the file, if that is pinned.
    sha256: str | None = None


def install(card: Card, source: str, weights_dir: Path, say: Say, *, sha256: str | None = None) -> Record:
    """Install the .nemo file at `source`, an http(s) URL or a path, as the model of `card`; return its record.

    Parameters
    ----------
    sha256 : of the file, if that is pinned.

    Raises
    ------
    ModelInstallError
        NeMo is missing, or the file cannot be fetched or has the wrong checksum. Or it is not the model that the card
        describes, or its export gives other embeddings.
    """
    nemo_source.require_nemo()
    convert = partial(nemo_source.convert_known, card, say=say)
    return _install(card.handle, _Origin(source=source, suffix=".nemo", sha256=sha256), weights_dir, say, convert)


def install_own(handle: str, source: str, weights_dir: Path, say: Say, descriptor: Path | None = None) -> Record:
    """Install the .nemo or .onnx file at `source` as the user's own model; return its record.

    Parameters
    ----------
    descriptor : of an ONNX file; the .toml file beside it if left out.

    Raises
    ------
    ModelInstallError
        The descriptor or the file cannot be read, or the model cannot be converted or is not usable.
    """
    if not _is_onnx(source, descriptor):
        nemo_source.require_nemo()
        convert = partial(nemo_source.convert_own, _name(source), say=say)
        return _install(handle, _Origin(source=source, suffix=".nemo"), weights_dir, say, convert)
    require_onnx()
    described = read_descriptor(descriptor or _beside(source))
    folder = None if is_url(source) else Path(source).parent

    def convert_file(file: Path, _: str, out: Path) -> Record:
        return convert_onnx(described, _name(source), folder, file, out, say)

    return _install(handle, _Origin(source=source, suffix=".onnx"), weights_dir, say, convert_file)


def _is_onnx(source: str, descriptor: Path | None) -> bool:
    return descriptor is not None or _name(source).lower().endswith(".onnx")


def _beside(source: str) -> Path:
    if is_url(source):
        raise ModelInstallError(
            "An ONNX file from the network needs a descriptor on this machine: DESCRIPTOR=model.toml."
        )
    return Path(source).with_suffix(".toml")


def _name(source: str) -> str:
    return PurePosixPath(urlsplit(source).path if is_url(source) else source).name


def _install(handle: str, origin: _Origin, weights_dir: Path, say: Say, convert: _Convert[_Made]) -> _Made:
    weights_dir.mkdir(parents=True, exist_ok=True)
    # Inside the weights folder, so that the last rename stays on one disk.
    with tempfile.TemporaryDirectory(dir=weights_dir, prefix=".installing-") as name:
        scratch = Path(name)
        file = scratch / f"model{origin.suffix}"
        folder = scratch / handle
        # A download is outside of the scratch folder, so that a later run can resume it.
        download = (weights_dir if is_url(origin.source) else scratch) / f".{handle}{origin.suffix}"
        with step(f"Fetching {public(origin.source)}", say):
            found = fetch(origin.source, download, say, origin.sha256)
        download.rename(file)
        folder.mkdir()
        made = convert(file, found, folder)
        made.write(folder)
        _put_in_place(folder, weights_dir / handle, scratch)
    return made


def _put_in_place(folder: Path, target: Path, scratch: Path) -> None:
    # A folder cannot be renamed onto another, so an older installation is moved into the scratch folder, to be deleted.
    if target.exists():
        _keep_tuned(target, folder)
        target.rename(scratch / "replaced")
    folder.rename(target)


def _keep_tuned(old: Path, new: Path) -> None:
    """Carry over the thresholds of `make tune`: if the weights are the same again, they count as before."""
    try:
        kept = tuned.read(old / tuned.TUNED_FILE)
    except ModelInstallError:
        return
    if kept:
        tuned.write(kept, new / tuned.TUNED_FILE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Install the model that the command line names; return 0, or 1 after printing the error."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not (options.model or options.source):
        parser.error("MODEL or --from is needed")
    handle = options.model or handle_of(options.source)
    try:
        options.weights_dir = options.weights_dir or Settings.from_env().weights_dir
        if options.own:
            # Only to refuse a manifest that does not fit before anything is installed.
            read_manifest(options.own)
        card = _known(handle, options)
        if handle == segmentation.HANDLE:
            _install_segmentation(options)
        elif card is None:
            _install_own(handle, options)
        elif options.source is None and card.architecture not in nemo_source.EXPORTERS:
            print(f"{card.handle} comes with Timbre; there is nothing to install.")
        else:
            _install_known(card, options)
    except (ModelInstallError, CalibrationError, SettingsError, OSError) as error:
        print(f"{handle} was not installed. {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{handle} was not installed: interrupted.", file=sys.stderr)
        return 1
    return 0


def handle_of(source: str) -> str:
    """Return the name of an own model that has none: that of its file, in small letters, digits and `_`."""
    stem = PurePosixPath(_name(source)).stem.lower()
    return re.sub(r"[^a-z0-9_-]+", "_", stem).strip("_-")[:_MOST_LETTERS] or "own"


def _known(handle: str, options: argparse.Namespace) -> Card | None:
    """Return the card of that name, None for an own model; raises ModelInstallError where the file does not fit."""
    speakers = registry.manifest()
    others = recognisers.manifest()
    if handle not in speakers and handle not in others:
        return None
    card = others[handle].card if handle in others else speakers[handle].card
    bundled = card.architecture not in nemo_source.EXPORTERS
    if options.source and (bundled or _is_onnx(options.source, options.descriptor)):
        kind = "comes with Timbre" if bundled else "is made of a .nemo file"
        raise ModelInstallError(f"{handle} {kind}; give your own model another name with MODEL=.")
    return card


def _install_known(card: Card, options: argparse.Namespace) -> None:
    pinned = registry.manifest()[card.handle].sha256 if isinstance(card, ModelCard) else None
    source = options.source or card.source
    record = install(card, source, options.weights_dir, _to_stderr, sha256=pinned)
    print(f"Installed {card.handle}@{card.revision}.{record.sha256[:8]} in {options.weights_dir / card.handle}")
    _say_origin(record, card.architecture)
    if isinstance(card, RecogniserCard):
        print(f"  it recognises speech in: {card.language}")
    else:
        _finish(card.handle, options)


def _install_own(handle: str, options: argparse.Namespace) -> None:
    if options.source is None:
        names = ", ".join([*registry.manifest(), *recognisers.manifest()])
        raise ModelInstallError(f"There is no model {handle!r}; the models are {names}, and your own with FROM=file.")
    if not _HANDLE.fullmatch(handle):
        raise ModelInstallError(
            f"MODEL may have {_MOST_LETTERS} small letters, digits, _ and -, such as {handle_of(handle)}."
        )
    if VENDOR_MODEL.fullmatch(handle):
        raise ModelInstallError(
            f"{handle} is a name of pyannoteAI's: requests with it get the default model. Give another with MODEL=."
        )
    record = install_own(handle, options.source, options.weights_dir, _to_stderr, options.descriptor)
    card = registry.installed_card(handle, options.weights_dir)
    print(f"Installed {card.model_id} in {options.weights_dir / handle}")
    _say_origin(record, card.architecture)
    print(f"  embeddings of {card.dimension} numbers; licence: {card.licence}")
    _finish(handle, options)


def _install_segmentation(options: argparse.Namespace) -> None:
    if options.source is None:
        raise ModelInstallError(
            "None comes with Timbre. Give an ONNX export of pyannote/segmentation-3.0: "
            f"`make models MODEL={segmentation.HANDLE} FROM=segmentation.onnx`."
        )
    require_onnx()
    convert = partial(convert_segmentation, None if is_url(options.source) else Path(options.source).parent)
    origin = _Origin(source=options.source, suffix=".onnx")
    layout = _install(segmentation.HANDLE, origin, options.weights_dir, _to_stderr, convert)
    print(summary(layout, options.weights_dir))


def _say_origin(record: Record, architecture: str) -> None:
    if record.parity is None:
        print("  tried on speech; no reference to compare it with")
        return
    print(f"  sha256 of the .nemo file: {record.sha256}")
    parity = nemo_source.PARITIES[architecture]
    print(f"  largest {parity} to NeMo {record.nemo_version}: {record.parity:.1e}")


def _finish(handle: str, options: argparse.Namespace) -> None:
    """Say which speaker model makes voiceprints, and calibrate the new one."""
    try:
        print(f"  {_default(handle, options.weights_dir)}")
    except ModelInstallError as error:
        print(f"  TIMBRE_MODEL={handle} makes voiceprints with this one. The default model does not work: {error}")
    card = registry.installed_card(handle, options.weights_dir)
    calibrate_or_say(card, options.weights_dir, options.corpus, options.own)


def _default(handle: str, weights_dir: Path) -> str:
    default = registry.default_card(weights_dir)
    if default.handle == handle:
        return f"{default.model_id} is now the default"
    return f"{default.model_id} is still the default; TIMBRE_MODEL={handle} makes voiceprints with this one"


def _parser() -> argparse.ArgumentParser:
    names = ", ".join([*registry.manifest(), *recognisers.manifest()])
    parser = argparse.ArgumentParser(prog="python -m models.install", description="Install a model.")
    help_ = f"one of: {names}, {segmentation.HANDLE}; or a name for your own"
    parser.add_argument("model", nargs="?", metavar="MODEL", help=help_)
    parser.add_argument("--from", dest="source", metavar="PATH_OR_URL", help="a .nemo or .onnx file")
    parser.add_argument("--descriptor", type=Path, metavar="FILE", help="of an .onnx file, if not the .toml beside it")
    parser.add_argument(
        "--calibrate-on", dest="own", type=Path, metavar="MANIFEST", help="CSV of your own recordings: file, speaker"
    )
    parser.add_argument(
        "--corpus", type=Path, default=SHIPPED, metavar="FOLDER", help="of other speech to calibrate on"
    )
    parser.add_argument("--weights-dir", type=Path, metavar="DIR", help="if not TIMBRE_WEIGHTS_DIR")
    return parser


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
