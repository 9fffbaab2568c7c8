"""What the README tells people to type is typed here."""

import os
import re
import subprocess
import sys

import pytest

from shared.domain.voiceprints import Voiceprint
from shared.local.stack import Stack
from shared.settings import Settings
from tests.support.client import Client
from tests.support.readme import ROOT, blocks
from tests.support.receiver import receiving, wait_for


@pytest.fixture
def environment(stack: Stack, client: Client) -> dict[str, str]:
    return os.environ | {"SERVICE_URL": client.url, "SERVICE_KEY": client.key}


def run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_curl_lines_make_a_voiceprint(environment: dict[str, str]) -> None:
    export, *lines = blocks("sh")
    assert export.startswith("export SERVICE_URL=") and len(lines) == 3
    # The service itself must still start in that shell.
    Settings.from_env(dict(pair.split("=") for pair in export.split()[1:]))
    output = run(["bash", "-eu", "-c", "\n".join(lines)], environment)
    assert '"status":"succeeded"' in output
    assert '"voiceprint":"' in output


def test_the_sdk_lines_say_who_speaks_when(environment: dict[str, str]) -> None:
    shown = run([sys.executable, "-W", "ignore", "-c", blocks("python")[0]], environment).splitlines()
    names = [line.rpartition(": ")[2] for line in shown]
    assert names[0] == "Bob"
    assert set(names) == {"Ann", "Bob"}


def test_the_ten_lines_that_read_a_voiceprint_agree_with_ours(enrolled: dict[str, str]) -> None:
    reader = next(block for block in blocks("python") if "read_voiceprint" in block)
    text = next(iter(enrolled.values()))
    names: dict = {}
    exec(reader, names)
    model, vector = names["read_voiceprint"](text)
    ours = Voiceprint.decode(text)
    assert model == ours.model_id
    assert vector.tolist() == ours.vector.tolist()
    assert len(re.findall(r"^.+$", reader, re.MULTILINE)) <= 10


def test_the_lines_that_verify_a_webhook_do(client: Client) -> None:
    names: dict = {}
    exec(next(block for block in blocks("python") if "standardwebhooks" in block), names)
    secret = client.post("/v1/webhook-secret", overlapSeconds=0).json()["secret"]
    with receiving("200") as receiver:
        job = client.run("media://nothing", webhook=receiver.url)
        wait_for(receiver, 1)
    post = receiver.posts[0]
    assert names["is_ours"](secret, post.body, dict(post.headers))["jobId"] == job["jobId"]


def test_the_demo_shows_who_speaks_and_that_one_person_is_more_alike_than_two() -> None:
    shown = run(["python3", "-m", "shared.local", "demo"], dict(os.environ))
    assert shown.count("-> succeeded") == 4
    assert "<- dominant" in shown
    assert re.search(r"SPEAKER_01 \|.*#.*\| +\d+\.\d s  <- dominant", shown)
    scores = [float(score) for score in re.findall(r"^  (0\.\d{3})  ", shown, re.MULTILINE)]
    assert len(scores) == 3
    assert scores[2] < min(scores[:2])


def test_make_alone_prints_help() -> None:
    shown = run(["make"], dict(os.environ))
    assert all(f"make {target} " in shown for target in ("demo", "run", "test", "models"))
