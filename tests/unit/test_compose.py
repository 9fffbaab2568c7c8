import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from api.sockets import Caps
from shared.settings import Settings
from worker.courier import LAST_S

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


def test_docker_compose_accepts_the_file():
    command = next((c for c in (["docker-compose"], ["docker", "compose"]) if shutil.which(c[0]) and works(c)), None)
    if command is None:
        pytest.skip("docker compose is not installed")
    subprocess.run([*command, "-f", ROOT / "compose.yaml", "config", "-q"], check=True, cwd=ROOT)


def works(command):
    return subprocess.run([*command, "version"], capture_output=True).returncode == 0


def test_every_service_has_a_health_check_and_comes_back_after_a_crash(compose):
    assert set(compose["services"]) >= {"redis", "api", "worker"}
    for service in compose["services"].values():
        assert service["healthcheck"]["test"]
        assert service["restart"] == "unless-stopped"


def test_redis_neither_forgets_nor_evicts(compose):
    command = compose["services"]["redis"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"


def test_redis_has_a_limit_of_memory_that_can_be_set(compose):
    command = compose["services"]["redis"]["command"]
    assert command[command.index("--maxmemory") + 1] == "${TIMBRE_REDIS_MEMORY:-1gb}"


def test_a_courier_has_time_to_note_what_it_has_sent(compose):
    grace_s = float(compose["services"]["courier"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > LAST_S


def test_redis_keeps_no_snapshots_of_what_was_deleted(compose):
    command = compose["services"]["redis"]["command"]
    assert command[command.index("--save") + 1] == ""


def test_the_api_is_not_open_to_other_machines_unless_asked(compose):
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert published == ["${TIMBRE_PORT:-127.0.0.1:8000}:8000", "${TIMBRE_STREAM_PORT:-127.0.0.1:8001}:8001"]


def test_only_known_settings_are_set(compose):
    for service in compose["services"].values():
        environment = {k: re.sub(r"\$\{\w+:-(.*)\}", r"\1", v) for k, v in service.get("environment", {}).items()}
        Settings.from_env(environment)


def test_the_stream_is_the_api_image_and_listens_where_the_api_says(compose):
    services = compose["services"]
    assert services["stream"]["build"] == services["api"]["build"]
    port = services["stream"]["environment"]["TIMBRE_STREAM_BIND"].rpartition(":")[2]
    assert services["api"]["environment"]["TIMBRE_STREAM_URL"].endswith(f":{port}}}")
    grace_s = float(services["stream"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > Caps().grace_s + Caps().close_s


@pytest.mark.parametrize("name", ["api", "worker"])
def test_the_images_build_from_files_that_exist(compose, name):
    dockerfile = ROOT / compose["services"][name]["build"]["dockerfile"]
    copied = re.findall(r"^COPY (\S+) ", dockerfile.read_text(), re.MULTILINE)
    assert copied
    assert all((ROOT / path).exists() for path in copied)


def test_the_api_image_installs_no_neural_network():
    packages = (ROOT / "api" / "requirements.lock").read_text()
    assert not re.search(r"^(torch|nemo|onnx|scipy|av)", packages, re.MULTILINE)
