"""The README keeps up: every setting, error code, endpoint and model is in it."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from api.app import create_app
from api.errors import STATUS
from api.services import Services
from shared.domain.errors import InternalError, RequestError, concrete_errors
from shared.domain.results import VoiceprintResult
from shared.settings import Settings

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    services = Services.from_settings(Settings(data_dir=tmp_path_factory.mktemp("data")))
    yield create_app(services)
    services.engine.dispose()


@pytest.mark.parametrize("setting", fields(Settings), ids=lambda f: f.name)
def test_every_setting_is_documented_with_its_meaning_and_default(setting):
    row = next(line for line in README.splitlines() if line.startswith(f"| `TIMBRE_{setting.name.upper()}` |"))
    assert setting.metadata["doc"] in row
    if setting.default is not None and setting.name != "weights_dir":
        assert f"`{str(setting.default).lower() if isinstance(setting.default, bool) else setting.default}`" in row


def test_no_setting_is_documented_that_does_not_exist():
    known = {f"TIMBRE_{f.name.upper()}" for f in fields(Settings)} | {"TIMBRE_SECRET_FILE"}
    assert set(re.findall(r"^\| `(TIMBRE_\w+)`", README, re.MULTILINE)) == known


@pytest.mark.parametrize("error", list(concrete_errors()), ids=lambda e: e.code)
def test_every_error_is_documented_with_its_status_and_whether_to_retry(error):
    cells = next(line for line in README.splitlines() if line.startswith(f"| `{error.code}` |")).split("|")
    assert cells[4].strip() == ("yes" if error.retryable else "no")
    if issubclass(error, RequestError):
        assert cells[2].strip() == str(STATUS[error])
    if error is InternalError:
        assert cells[2].strip() == "500, job"


def test_error_codes_are_unique_and_every_request_error_has_a_status():
    errors = list(concrete_errors())
    assert len({error.code for error in errors}) == len(errors)
    assert {error for error in errors if issubclass(error, RequestError)} == set(STATUS)


def test_every_endpoint_is_documented(app):
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<\w+:(\w+)>", r"{\1}", rule.rule).replace("job_id", "jobId")
        assert f"{(rule.methods - {'HEAD', 'OPTIONS'}).pop()} {path}" in README


def test_every_model_of_the_manifest_is_documented():
    manifest = tomllib.loads((ROOT / "models" / "manifest.toml").read_text())
    for handle, model in manifest.items():
        row = next(line for line in README.splitlines() if line.startswith(f"| `{handle}` |"))
        assert f"| {model['dimension']} | {model['min_speech_s']} s |" in row


def test_the_steps_and_output_fields_are_documented():
    assert VoiceprintResult.__doc__
    for name in ("voiceprint", "model", "dimension", "dominantSpeaker", "netSpeechSeconds", "segments", "speakers",
                 "quality", "calibrated",
                 "warning", "diarization", "audioSeconds", "speechSeconds", "timings",
                 "download", "decode", "vad", "encode",
                 "diarize", "embed"):  # fmt: skip
        assert f"`{name}`" in README
