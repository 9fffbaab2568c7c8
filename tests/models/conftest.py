"""What the tests of the networks share: real speech, and a TitaNet made, served and installed once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from models import registry
from models.install import main
from models.vad import SileroVad
from shared.networks import Embedder
from tests.support.corpora import UNCALIBRATED
from tests.support.file_server import FileServer, serving
from tests.support.speech import Clip, read_clips


@pytest.fixture(scope="session")
def clips() -> list[Clip]:
    return read_clips()


@pytest.fixture(scope="session")
def ge2e() -> Embedder:
    return registry.load(registry.entry("ge2e").card)


@pytest.fixture(scope="session")
def vad() -> SileroVad:
    return SileroVad()


@pytest.fixture(scope="session")
def nemo_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small TitaNet as NeMo saves it."""
    from tests.support.titanet_nemo import build_titanet_nemo

    path = tmp_path_factory.mktemp("nemo") / "titanet.nemo"
    build_titanet_nemo(path)
    return path


@pytest.fixture
def nemo_server(nemo_file: Path) -> Iterator[FileServer]:
    with serving(nemo_file) as server:
        yield server


@pytest.fixture(scope="session")
def weights_dir(nemo_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder in which the small TitaNet was installed over HTTP, by the command, as titanet_large."""
    folder = tmp_path_factory.mktemp("weights")
    with serving(nemo_file) as server:
        assert main(["titanet_large", "--from", server.url("file"), "--weights-dir", str(folder), *UNCALIBRATED]) == 0
    return folder


@pytest.fixture(scope="session")
def ctc_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Conformer-CTC as NeMo saves it."""
    from tests.support.ctc_nemo import build_ctc_nemo

    path = tmp_path_factory.mktemp("ctc") / "recogniser.nemo"
    build_ctc_nemo(path)
    return path
