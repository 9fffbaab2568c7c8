"""Jobs of the whole service on a user's own models: one of NeMo's other kinds, and one in ONNX."""

from pathlib import Path

import pytest

from models.install import main
from models.registry import installed_card
from shared.domain.voiceprints import Voiceprint
from tests.support import sounds
from tests.support.corpora import UNCALIBRATED
from tests.support.stacks import bugs, first_client, running

pytestmark = [pytest.mark.nemo, pytest.mark.filterwarnings("ignore")]

ONE_PERSON = sounds.DATA / "2609-156975-0000.flac"
DESCRIPTOR = 'sample_rate = 16000\nlicence = "CC-BY-4.0"\nfeatures = "fbank"\nwindow = "hamming"\nscale = 32768\n'


@pytest.fixture(scope="module")
def own_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder with both."""
    from tests.support.onnx_networks import write_fbank_network
    from tests.support.titanet_nemo import build_conv_nemo

    files = tmp_path_factory.mktemp("files")
    preprocessor = {"features": 64, "window_size": 0.02}
    build_conv_nemo(files / "speakernet.nemo", pool_mode="xvector", se=False, emb_sizes=48, preprocessor=preprocessor)
    write_fbank_network(files / "resnet.onnx")
    (files / "resnet.toml").write_text(DESCRIPTOR)
    weights = tmp_path_factory.mktemp("weights")
    for name in ("speakernet.nemo", "resnet.onnx"):
        assert main(["--from", str(files / name), "--weights-dir", str(weights), *UNCALIBRATED]) == 0
    return weights


@pytest.mark.parametrize(("handle", "dimension"), [("speakernet", 48), ("resnet", 32)])
def test_an_own_model_makes_voiceprints_and_names_their_speaker(
    own_weights: Path, tmp_path: Path, handle: str, dimension: int
) -> None:
    recording = ONE_PERSON.read_bytes()
    with running(tmp_path, weights_dir=own_weights, worker_processes=1, model=handle) as stack:
        client = first_client(stack)
        output = client.run(client.upload("one", recording))["output"]
        voiceprint = Voiceprint.decode(output["voiceprint"])
        assert voiceprint.model_id == installed_card(handle, own_weights).model_id
        assert (output["model"], output["dimension"]) == (voiceprint.model_id, dimension)
        known = [{"label": "reader", "voiceprint": output["voiceprint"]}]
        # Random weights hear one person as two now and then.
        asked = client.post("/v1/identify", url=client.upload("again", recording), voiceprints=known, numSpeakers=1)
        found = client.wait(asked.json()["jobId"])["output"]
        assert found["voiceprints"][0]["match"] == "reader"
        models = {model["handle"]: model for model in client.send("GET", "/v1/models").json()["models"]}
        assert models[handle]["default"]
        assert (models[handle]["installed"], models[handle]["dimension"]) == (True, dimension)
        assert bugs(stack) == []
