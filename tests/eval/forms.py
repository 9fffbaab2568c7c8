"""`python -m tests.eval.forms MANIFEST [--people N]`: do all forms of the API decide alike?

A stack of the whole service runs for it. Each person is enrolled once by Timbre's own form, as a voice biometrics user,
and by a single call, from the same sound. Each person's probe is verified against that person and the next one. The
decisions are printed side by side. No file is coded with losses, though single calls usually are: AAC may turn the
decision on a voice near the limit.
"""

import base64
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import requests
import soundfile

from shared.domain.audio import SAMPLE_RATE_HZ
from shared.local.stack import Stack
from tests.eval.enrolling import Person, choose
from tests.eval.recordings import read_manifest
from tests.support.client import Client
from tests.support.stacks import first_client, running

_GROUP = "forms"
_PATIENCE_S = 300
Sound = np.ndarray
#: Enrols a person by a sound; verifies a sound against a person.
Form = tuple[Callable[[str, Sound], None], Callable[[str, Sound], tuple[bool, float]]]


@click.command()
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--people", default=10, show_default=True)
def main(manifest: Path, people: int) -> None:
    """Compare the decisions of all forms on the people of MANIFEST."""
    found = list(choose(read_manifest(manifest), people))
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as stack:
        client = first_client(stack)
        forms = {"native": native(client), "users": users(stack), "single call": single_calls(client)}
        report(forms, found)


def report(forms: Mapping[str, Form], people: Sequence[Person]) -> None:
    """Enrol everybody by each form, verify, and print the decisions and the number of disagreements."""
    for person in people:
        for enrol, _ in forms.values():
            enrol(person.name, np.concatenate([_read(one) for one in person.recordings[:-1]]))
    print(f"{'probe of':18s} {'against':18s}", *(f"{name:>18s}" for name in forms))
    disagreements = 0
    for place, person in enumerate(people):
        probe = _read(person.recordings[-1])
        for other in (person, people[(place + 1) % len(people)]):
            told = [verify(other.name, probe) for _, verify in forms.values()]
            disagreements += len({accepted for accepted, _ in told}) > 1
            shown = [f"{'accept' if accepted else 'reject'} {score:8.2f}" for accepted, score in told]
            print(f"{person.name:18s} {other.name:18s}", *(f"{one:>18s}" for one in shown), flush=True)
    print(f"{disagreements} disagreements in {2 * len(people)} verifications")


def native(client: Client) -> Form:
    """Return Timbre's own form; the score is a confidence in %."""

    def ask(path: str, name: str, sound: Sound) -> dict[str, Any]:
        url = client.upload(f"{name}.flac", _file(sound, "FLAC"))
        job = client.post(path, identity=name, url=url).json()["jobId"]
        output: dict[str, Any] = client.wait(job, _PATIENCE_S)["output"]
        return output

    def verify(name: str, sound: Sound) -> tuple[bool, float]:
        found = ask("/v1/verify", name, sound)
        return found["decision"] == "accept", found["confidence"]

    return (lambda name, sound: _require(ask("/v1/enrol", name, sound), "identity")), verify


def users(stack: Stack) -> Form:
    """Return the form of voice biometrics users; the score is their confidence, 1 and more to accept."""
    command = [sys.executable, "-m", "api.keys", "create", "default", "--group", _GROUP]
    environment = os.environ | {"TIMBRE_DATA_DIR": str(stack.settings.data_dir)}
    key = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    def put(operation: str, name: str, sound: Sound) -> dict[str, Any]:
        address = f"{stack.url}/voice_biometrics/v1/user/{operation}"
        # Their ids have no underscores.
        parameters = {"user_id": name.replace("_", "-")}
        wav = _file(sound, "WAV")
        answer = requests.put(address, wav, params=parameters, auth=("1-2-0/eval", key), timeout=_PATIENCE_S)
        found: dict[str, Any] = answer.json()
        return found

    def verify(name: str, sound: Sound) -> tuple[bool, float]:
        found = put("verify", name, sound)
        return found["verified"], found["confidence"]

    return (lambda name, sound: _require(put("register", name, sound), "transaction_id")), verify


def single_calls(client: Client) -> Form:
    """Return the form of single calls; the score is a confidence in %."""
    vectors: dict[str, list[float]] = {}

    def call(path: str, sound: Sound, **fields: Any) -> dict[str, Any]:
        body = {
            "api_key": client.key,
            "method": "text_dep_user",
            "audio": base64.b64encode(_file(sound, "FLAC")).decode(),
            **fields,
        }
        answer = requests.post(f"{client.url}/voice/v1/{path}", json=body, timeout=_PATIENCE_S)
        found: dict[str, Any] = answer.json()
        data: dict[str, Any] = found["data"]
        _require(data | {"message": found["message"]}, "vector" if path == "enroll_voice" else "confidence")
        return data

    def enrol(name: str, sound: Sound) -> None:
        vectors[name] = call("enroll_voice", sound)["vector"]

    def verify(name: str, sound: Sound) -> tuple[bool, float]:
        confidence = call("verify_voice", sound, vector=vectors[name])["confidence"]
        return confidence >= 50, confidence

    return enrol, verify


def _require(found: Mapping[str, Any], field: str) -> None:
    if field not in found:
        raise click.ClickException(f"A form did not do what it was asked: {found}")


def _read(file: bytes) -> Sound:
    return soundfile.read(io.BytesIO(file), dtype="float32")[0]


def _file(sound: Sound, container: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound, SAMPLE_RATE_HZ, "PCM_16", format=container)
    return file.getvalue()


if __name__ == "__main__":
    main()
