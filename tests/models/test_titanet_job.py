"""A job of the whole service on an installed TitaNet, held against NeMo."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.registry import entry
from shared.domain.audio import Segment
from shared.domain.voiceprints import Voiceprint
from shared.sound.level import evened
from tests.support import sounds
from tests.support.client import Client
from tests.support.stacks import first_client, running

pytestmark = [pytest.mark.nemo, pytest.mark.filterwarnings("ignore")]

ONE_PERSON = sounds.DATA / "2609-156975-0000.flac"


@pytest.fixture(scope="module")
def client(weights_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("titanet")
    with running(folder, weights_dir=weights_dir, worker_processes=1) as stack:
        yield first_client(stack)


def test_an_installed_titanet_is_the_default_and_its_voiceprint_is_nemos_own(client: Client, nemo_file: Path) -> None:
    from models.installation.export import reference_embedding, restore

    output = client.run(client.upload("one", ONE_PERSON.read_bytes()))["output"]
    voiceprint = Voiceprint.decode(output["voiceprint"])
    assert voiceprint.model_id.startswith("titanet_large@1.")
    assert output["model"] == voiceprint.model_id
    assert output["dimension"] == 192
    # Random weights hear one person as two now and then; what was embedded is what the output says.
    speech = sounds.read_waveform(ONE_PERSON).join([Segment(span["start"], span["end"]) for span in output["segments"]])
    nemo = reference_embedding(restore(nemo_file, entry("titanet_large").card), evened(speech))
    assert float(voiceprint.vector @ (nemo / np.linalg.norm(nemo))) >= 0.9999
