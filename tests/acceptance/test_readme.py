"""Documents as a person meets them: what they tell people to type is typed here."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
import soundfile

from shared.domain.voiceprints import Voiceprint
from shared.local.stack import Stack, free_port
from shared.settings import Settings
from tests.support.client import Client, eventually
from tests.support.readme import ROOT, block
from tests.support.sounds import DATA

_LEAST_NODE = 18


@pytest.fixture
def environment(stack: Stack, client: Client) -> dict[str, str]:
    # `python3` of the documents is one that has their packages.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    data_dir = str(stack.settings.data_dir)
    return os.environ | {
        "SERVICE_URL": client.url,
        "SERVICE_KEY": client.key,
        "PATH": path,
        "TIMBRE_DATA_DIR": data_dir,
    }


def run(command: list[str], environment: dict[str, str], folder: Path = ROOT) -> str:
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def shell(lines: str, environment: dict[str, str], folder: Path = ROOT) -> str:
    return run(["bash", "-eu", "-c", lines], environment, folder)


def variables(text: str) -> dict[str, str]:
    """Return the NAME=VALUE words of a shell line."""
    return dict(word.split("=", 1) for word in text.split() if re.match(r"[A-Z_]+=", word))


def node_version() -> int:
    if not shutil.which("node"):
        return 0
    return int(run(["node", "--version"], dict(os.environ)).strip().lstrip("v").partition(".")[0])


def test_the_two_commands_are_demo_and_run() -> None:
    commands = [line.partition("#")[0].strip() for line in block("README.md", "two-commands").splitlines()]
    assert commands == ["make demo", "make run"]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    started = [run([*command.split(), "-n"], alone).strip() for command in commands]
    # The next test runs the first, and test_run.py the second.
    assert started == ["python3 -m shared.local demo", "python3 -m shared.local run"]


def test_the_demo_shows_who_speaks_and_recognises_the_right_one_of_two_people() -> None:
    shown = run(["python3", "-m", "shared.local", "demo"], dict(os.environ))
    assert shown.count("-> succeeded") == 8
    assert re.search(r"accept, with confidence (9\d|100) of 100\n.*\n +reject, with confidence \d of 100\n", shown)
    assert "<- dominant" in shown
    assert re.search(r"SPEAKER_01 \|.*#.*\| +\d+\.\d s  <- dominant", shown)
    scores = [float(score) for score in re.findall(r"^  (0\.\d{3})  ", shown, re.MULTILINE)]
    assert len(scores) == 3
    assert scores[2] < min(scores[:2])


def test_the_curl_lines_make_a_voiceprint(environment: dict[str, str]) -> None:
    export = block("README.md", "variables")
    assert list(variables(export)) == ["SERVICE_URL", "SERVICE_KEY", "WEBHOOK"]
    # The service itself must still start in that shell.
    Settings.from_env(variables(export))
    lines = [block("README.md", name) for name in ("upload", "submit", "wait")]
    output = shell("\n".join(lines), environment)
    assert '"status":"succeeded"' in output
    assert '"voiceprint":"' in output


def test_the_curl_lines_enrol_and_verify_a_person(environment: dict[str, str]) -> None:
    output = shell(block("README.md", "people"), environment)
    assert output.count('"status":"succeeded"') == 2
    assert '"decision":"accept"' in output


def test_the_python_lines_enrol_and_verify_a_person(environment: dict[str, str]) -> None:
    assert run([sys.executable, "-c", block("README.md", "people.py")], environment) == "accept\n"


@pytest.mark.skipif(node_version() < _LEAST_NODE, reason=f"needs Node.js {_LEAST_NODE}")
def test_the_javascript_lines_enrol_and_verify_a_person(environment: dict[str, str], tmp_path: Path) -> None:
    helpers, source, _ = block("api/README.md", "voiceprint.mjs").partition("const source = ")
    assert source
    program = tmp_path / "people.mjs"
    program.write_text(helpers + block("api/README.md", "people.mjs"))
    assert run(["node", str(program)], environment) == "accept\n"


def test_the_sdk_lines_say_who_speaks_when(environment: dict[str, str]) -> None:
    shown = run([sys.executable, "-W", "ignore", "-c", block("README.md", "sdk")], environment).splitlines()
    names = [line.rpartition(": ")[2] for line in shown]
    assert names[0] == "Bob"
    assert set(names) == {"Ann", "Bob"}


@pytest.mark.skipif(node_version() < _LEAST_NODE, reason=f"needs Node.js {_LEAST_NODE}")
def test_the_javascript_program_makes_a_voiceprint(environment: dict[str, str], tmp_path: Path) -> None:
    program = tmp_path / "voiceprint.mjs"
    program.write_text(block("api/README.md", "voiceprint.mjs"))
    shown = run(["node", str(program), "tests/data/conversation.flac"], environment)
    assert shown.startswith("succeeded {")
    assert re.search(r"voiceprint: +'[A-Za-z0-9+/=]{100}", shown)


def test_a_client_of_spaces_is_pointed_here(environment: dict[str, str]) -> None:
    made = json.loads(shell(block("api/dialects/README.md", "spaces"), environment))
    assert made["handle"] == "calls"


def test_a_client_of_voice_biometrics_users_is_pointed_here(environment: dict[str, str], tmp_path: Path) -> None:
    for name, recording in (("ann-1", "1688-142285-0005"), ("ann-2", "1688-142285-0008")):
        samples, rate_hz = soundfile.read(DATA / f"{recording}.flac")
        soundfile.write(tmp_path / f"{name}.wav", samples, rate_hz, "PCM_16")
    # make works where the Makefile is, and curl where the recordings are.
    written = block("api/dialects/README.md", "users")
    lines = written.replace("make ", f"make -C {ROOT} ").replace("-T ", f"-T {tmp_path}/")
    registered, verified, checked = map(json.loads, re.findall(r"\{.*?\}(?=\n|\{|$)", shell(lines, environment)))
    assert registered["transaction_id"]
    assert verified["verified"] is True
    assert json.loads(checked["result"])["enrolids"] == ["Ann"]


def test_a_client_of_single_calls_is_pointed_here(environment: dict[str, str]) -> None:
    answer = json.loads(shell(block("api/dialects/README.md", "single-call"), environment))
    assert answer["result"] == "Ok"
    assert answer["data"]["confidence"] >= 50


@contextmanager
def receiver(secret: str, environment: dict[str, str], folder: Path) -> Iterator[Path]:
    """Run the README's receiver; yields the file that it prints to."""
    program = folder / "receiver.py"
    program.write_text(block("api/README.md", "receiver.py"))
    printed = folder / "printed"
    with printed.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(program)], env=environment | {"WEBHOOK_SECRET": secret}, stdout=output
        )
    try:
        yield printed
    finally:
        process.terminate()
        process.wait()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_receiver_prints_webhooks_and_refuses_forged_ones(
    client: Client, environment: dict[str, str], tmp_path: Path
) -> None:
    port = free_port()
    environment |= {"WEBHOOK": f"http://127.0.0.1:{port}/"}
    client.upload("hello.flac", (DATA / "conversation.flac").read_bytes())
    ask_for_secret, start, submit = block("api/README.md", "webhook").partition("python3 receiver.py &\n")
    assert start
    secret = shell(f"{ask_for_secret}printf %s $WEBHOOK_SECRET", environment)
    assert secret.startswith("whsec_")
    with receiver(secret, environment, tmp_path) as printed:
        eventually(lambda: listens(port))
        job_id = re.search(r'"jobId":"(.+?)"', shell(submit, environment))
        assert job_id
        eventually(lambda: f"{job_id[1]} succeeded" in printed.read_text())
        forged = {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
        assert requests.post(environment["WEBHOOK"], b"{}", headers=forged, timeout=5).status_code == 401
        assert len(printed.read_text().splitlines()) == 1


def test_the_settings_for_local_webhooks_allow_the_receiver() -> None:
    line = block("api/README.md", "run-with-local-webhooks").strip()
    assert line.endswith(" make run")
    settings = Settings.from_env(variables(line))
    webhook = variables(block("README.md", "variables"))["WEBHOOK"]
    host, _, port = webhook.removeprefix("http://").rstrip("/").partition(":")
    assert settings.allow_http_webhooks
    assert settings.address_rules().allow_port(int(port))
    assert settings.address_rules().allow(host, [host])
    assert settings.address_rules().allow("localhost", ["::1", host])
    assert f":{port}/" in webhook


def test_the_ten_lines_that_read_a_voiceprint_agree_with_ours(enrolled: dict[str, str]) -> None:
    reader = block("api/README.md", "read-voiceprint")
    text = next(iter(enrolled.values()))
    names: dict = {}
    exec(reader, names)
    model, vector = names["read_voiceprint"](text)
    ours = Voiceprint.decode(text)
    assert model == ours.model_id
    assert vector.tolist() == ours.vector.tolist()
    assert len(re.findall(r"^.+$", reader, re.MULTILINE)) <= 10


def test_make_alone_prints_help() -> None:
    shown = run(["make"], dict(os.environ))
    assert all(f"make {target} " in shown for target in ("demo", "run", "test", "models"))
