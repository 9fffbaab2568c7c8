"""The import rules in pyproject.toml: a copy of the code with a forbidden import planted for each must break it."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("api", "worker", "models", "shared")

#: Contract -> modules that get a forbidden line, several where a rule names several rooms.
PLANTED = {
    "Edges sit on shared and never meet": [("worker/voices/matching.py", "import api.rates")],
    "Inside shared, dependencies point inwards": [("shared/ports.py", "import shared.adapters.redis_client")],
    "Inside worker, dependencies point inwards": [("worker/egress.py", "import worker.jobs.alive")],
    "The domain knows no framework": [("shared/domain/jobs.py", "import marshmallow")],
    "The API carries no neural network": [("api/rates.py", "import models.runtime")],
    "Only bootstrap and tuning import the models": [
        ("worker/voices/chunks.py", "import models.vad"),
        ("worker/jobs/alive.py", "import models.runtime"),
        ("worker/courier.py", "import models.registry"),
    ],
    "A running worker needs neither NeMo nor torch": [("worker/voices/linking.py", "import torch")],
    "Celery and Flask stay at the edges": [("worker/recordings/fetch.py", "import celery")],
    "Only egress opens clients' addresses": [
        ("worker/voices/chunks.py", "import urllib3"),
        ("worker/voices/linking.py", "import urllib3"),
        ("worker/voices/confidence.py", "import urllib3"),
        ("worker/voices/matching.py", "import urllib3"),
        ("worker/webhooks/sender.py", "import requests"),
        ("worker/jobs/housekeeping.py", "import requests"),
        ("shared/logs.py", "import requests"),
    ],
    "Voices touch neither network nor disk": [
        ("worker/voices/progress.py", "import pathlib"),
        ("worker/voices/voiceprint.py", "import worker.egress"),
    ],
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what import-linter says of the code with every line planted."""
    root = tmp_path_factory.mktemp("planted")
    shutil.copy(ROOT / "pyproject.toml", root)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__", "weights"))
    for path, line in (plant for plants in PLANTED.values() for plant in plants):
        with (root / path).open("a") as module:
            module.write(f"\n{line}\n")
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout


def test_every_contract_has_a_planted_import() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert {contract["name"] for contract in contracts} == set(PLANTED)


@pytest.mark.parametrize("contract", PLANTED)
def test_a_planted_import_breaks_its_contract(broken: str, contract: str) -> None:
    assert f"{contract} BROKEN" in broken
    reasons = broken[broken.rindex(f"\n{contract}\n---") :]
    for path, line in PLANTED[contract]:
        assert f"{path.removesuffix('.py').replace('/', '.')} -> {line.removeprefix('import ')}" in reasons
