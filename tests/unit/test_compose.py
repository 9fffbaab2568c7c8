"""compose.yaml: what docker-compose makes of it, small and for production, held against settings and images."""

import json
import os
import re
import shutil
import stat
import subprocess
from dataclasses import fields

import pytest
import yaml

from api.sockets import Caps
from shared.settings import Settings
from shared.telemetry.exporter import ROLES
from tests.support.caddy import CADDYFILE
from tests.support.prometheus import DEPLOY
from tests.support.readme import DOCUMENTS, ROOT
from tests.support.readme import block as readme_block
from worker.courier import LAST_S

EXAMPLE = (ROOT / ".env.example").read_text()
SMALL = {"redis", "migrate", "api", "stream", "worker", "courier"}
OURS = {"migrate", "api", "stream", "worker", "courier", "bucket"}
STEPS = {"migrate", "bucket"}
#: Settings whose value may be a secret, so that it may lie in a file.
SECRETS = ("TIMBRE_SECRET_FILE", "TIMBRE_REDIS_PASSWORD_FILE", "TIMBRE_DATABASE_PASSWORD_FILE")
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")
FILES = ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE")
#: Others that the libraries read.
READ_ELSEWHERE = {
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_EXPORT_TIMEOUT",
}
#: Images that begin as root, and why.
AS_ROOT = {"store": "gives its volume to its user, and goes on as that", "proxy": "has no other user"}
MIB = 1024**2


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def services(compose):
    return compose["services"]


def block(heading):
    """Return the settings of a block of the example, uncommented, as `cp` and an editor do."""
    text = re.search(rf"^# --- {heading}.*?(?=^# --- [A-Z]|\Z)", EXAMPLE, re.MULTILINE | re.DOTALL)[0]
    return "".join(f"{line[1:]}\n" for line in text.splitlines() if re.match(r"#[A-Z_0-9]+=", line))


PRODUCTION = block("Production: ")


@pytest.fixture(scope="module")
def command():
    found = next((c for c in (["docker-compose"], ["docker", "compose"]) if shutil.which(c[0]) and works(c)), None)
    if found is None:
        pytest.skip("docker compose is not installed")
    return found


def works(command):
    return subprocess.run([*command, "version"], capture_output=True).returncode == 0


def configured(command, folder, text, *arguments):
    """Return what docker-compose makes of the file with `text` as .env, apart from this shell's variables."""
    (folder / ".env").write_text(text)
    given = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    options = ["--env-file", folder / ".env", "-f", ROOT / "compose.yaml", *arguments]
    shown = subprocess.run(
        [*command, *options, "config"], env=given, cwd=ROOT, check=True, capture_output=True, text=True
    )
    return yaml.safe_load(shown.stdout)


@pytest.fixture(scope="module")
def small(command, tmp_path_factory):
    return configured(command, tmp_path_factory.mktemp("small"), EXAMPLE)["services"]


@pytest.fixture(scope="module")
def production(command, tmp_path_factory):
    return configured(command, tmp_path_factory.mktemp("production"), PRODUCTION)["services"]


@pytest.mark.parametrize("headings", [[], ["Small"], ["Production: ", "Production, where"]])
@pytest.mark.parametrize("profile", [[], ["--profile", "production"]], ids=["small", "production"])
def test_docker_compose_accepts_the_file(command, tmp_path, profile, headings):
    configured(command, tmp_path, "".join(block(heading) for heading in headings), *profile)


def test_the_small_service_has_its_five_parts_and_a_step(services):
    assert {name for name, service in services.items() if "profiles" not in service} == SMALL
    assert {tuple(service["profiles"]) for service in services.values() if "profiles" in service} == {("production",)}


def mounted(service):
    """Return the folders of this machine that a service sees at /run/secrets, from `secrets` on."""
    shown = service.get("volumes", [])
    # docker-compose 1 shows lines, Compose 2 shows tables.
    lines = [line if isinstance(line, str) else f"{line['source']}:{line['target']}:ro" for line in shown]
    return re.findall(r"/secrets/(\w+):/run/secrets:ro", "\n".join(lines))


def published(service):
    """Return address and port of this machine at which a service is published; no port where any will do."""
    (line,) = service["ports"]
    address, port, _ = line.split(":") if isinstance(line, str) else (line["host_ip"], line.get("published", ""), "")
    return address, port


def set_in(service):
    return {name: str(value) for name, value in service["environment"].items() if value is not None}


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_setting_and_credential_reaches_the_containers(services, name):
    settings = {f"TIMBRE_{f.name.upper()}" for f in fields(Settings)}
    timbre = {name for name in services[name]["environment"] if name.startswith("TIMBRE_")}
    assert timbre == settings | set(SECRETS)
    assert {*CREDENTIALS, *FILES, *READ_ELSEWHERE} <= services[name]["environment"].keys()


def test_the_document_names_the_settings_that_are_fixed_in_containers(services):
    given = services["worker"]["environment"]
    fixed = {name for name, value in given.items() if value is not None and "$" not in value}
    (text,) = re.findall(r"\nFive settings are fixed.*?\. ", DOCUMENTS["shared/README.md"], re.DOTALL)
    assert set(re.findall(r"`(TIMBRE_\w+)`", text)) == fixed


def test_what_nobody_sets_stays_unset(small):
    for name in OURS & SMALL:
        given = set_in(small[name])
        assert Settings.from_env(given).model is None
        assert {key for key in given if not key.startswith("TIMBRE_")} == set()


def test_what_the_shell_or_the_file_sets_is_passed_on(command, tmp_path):
    shown = configured(command, tmp_path, "TIMBRE_MODEL=titanet_large\nAWS_PROFILE=calls\n")["services"]
    for name in OURS & SMALL:
        assert Settings.from_env(set_in(shown[name])).model == "titanet_large"
        assert set_in(shown[name])["AWS_PROFILE"] == "calls"


def test_in_production_every_part_has_the_database_the_bucket_and_the_secrets(production, made):
    for name in OURS:
        given = set_in(production[name])
        local = {k: v.replace("/run/secrets", str(made / "timbre")) for k, v in given.items() if k.endswith("_FILE")}
        settings = Settings.from_env(given | local)
        assert settings.database_url == f"postgresql://timbre:{read(made, 'postgres/password')}@postgres/timbre"
        assert settings.redis_url == f"redis://:{read(made, 'timbre/redis-password')}@redis:6379/0"
        assert settings.secret == read(made, "timbre/secret")
        assert (settings.s3_bucket, settings.s3_endpoint_url) == ("uploads", "http://store:8333")
        assert settings.s3_public_url == "https://media.example.org"
        assert settings.public_url == "https://voice.example.org"
        assert settings.stream_url == "wss://voice.example.org"
        assert mounted(production[name]) == ["timbre"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Secrets of a copy of the repository."""
    copy = tmp_path_factory.mktemp("secrets")
    (copy / "shared" / "deploy").mkdir(parents=True)
    shutil.copy(DEPLOY / "secrets.sh", copy / "shared" / "deploy")
    # As by an operator whose umask is closed.
    (copy / "secrets" / "timbre").mkdir(mode=0o700, parents=True)
    run = ["sh", str(copy / "shared" / "deploy" / "secrets.sh")]
    first = subprocess.check_output(run, cwd="/", text=True, umask=0o077)
    before = {path: path.read_text() for path in (copy / "secrets").rglob("*") if path.is_file()}
    assert first.count("made") == len(before)
    assert subprocess.check_output(run, cwd="/", text=True).count("kept") == len(before)
    assert before == {path: path.read_text() for path in (copy / "secrets").rglob("*") if path.is_file()}
    return copy / "secrets"


def read(folder, name):
    return (folder / name).read_text().strip()


def test_secrets_are_closed_to_other_users_and_open_to_the_users_of_containers(made):
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.iterdir()} == {0o755}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.glob("*/*")} == {0o444}


def test_secrets_are_random_and_both_sides_have_the_same(made):
    long = [read(made, name) for name in ("timbre/secret", "timbre/redis-password", "grafana/password")]
    assert len(set(long)) == 3
    assert all(re.fullmatch(r"[0-9a-f]{48}", value) for value in long)
    assert read(made, "redis/redis.conf") == f"requirepass {read(made, 'timbre/redis-password')}"
    assert read(made, "timbre/database-password") == read(made, "postgres/password")
    (identity,) = json.loads(read(made, "store/s3.json"))["identities"]
    (key,) = identity["credentials"]
    assert f"aws_access_key_id = {key['accessKey']}\n" in read(made, "timbre/aws-credentials")
    assert read(made, "timbre/aws-credentials").endswith(f"aws_secret_access_key = {key['secretKey']}")


def test_each_container_sees_the_secrets_of_its_own_service_alone(production):
    for name, service in production.items():
        assert mounted(service) in ([], ["timbre" if name in OURS else name])


def networks(service):
    """Return the networks of a service, of which docker-compose 1 shows a list and Compose 2 a table."""
    return set(service.get("networks") or ["default"])


def test_only_those_that_need_the_store_can_reach_it(production):
    assert networks(production["store"]) == {"store"}
    beside = {name for name, service in production.items() if "store" in networks(service)} - {"store"}
    assert beside == (OURS - {"migrate"}) | {"proxy"}
    assert all("default" in networks(production[name]) for name in production.keys() - {"store"})


def test_the_store_asks_those_who_would_administer_it_for_a_token(production, made):
    assert re.fullmatch(r'\[jwt\.filer_signing\]\nkey = "[0-9a-f]{48}"', read(made, "store/security.toml"))
    command = production["store"]["command"]
    assert {"-config_dir=/run/secrets", "-s3.port.lance=0", "-s3.port.iceberg=0"} <= set(command)


def test_the_password_of_redis_is_in_its_file_and_asked_for_by_its_health_check(production, small):
    assert production["redis"]["command"][:2] == ["valkey-server", "/run/secrets/redis.conf"]
    assert "requirepass //p' /run/secrets/redis.conf)" in production["redis"]["healthcheck"]["test"][1]
    assert small["redis"]["command"][:2] == ["valkey-server", "/dev/null"]


def test_every_service_has_a_health_check_and_comes_back_after_a_crash(services):
    for name in services.keys() - STEPS:
        assert services[name]["healthcheck"]["test"]
        assert services[name]["restart"] == "unless-stopped"


def test_a_step_ends_and_has_none(services):
    for name in STEPS:
        assert services[name]["restart"] == "no"
        assert "healthcheck" not in services[name]


def test_every_service_has_a_limit_of_memory_and_turns_its_logs(services):
    for service in services.values():
        assert service["mem_limit"]
        assert service["logging"] == {"driver": "json-file", "options": {"max-size": "10m", "max-file": "5"}}


def test_redis_has_room_to_rewrite_its_file(small):
    command = small["redis"]["command"]
    assert command[command.index("--maxmemory") + 1] == "1gb"
    assert small["redis"]["mem_limit"] in ("2g", str(2 * 1024**3))


def test_every_image_has_a_version_of_three_parts(services):
    images = [service["image"] for service in services.values() if "image" in service]
    bases = [
        re.search("^FROM (.*)$", (ROOT / name / "Dockerfile").read_text(), re.MULTILINE)[1]
        for name in ("api", "worker")
    ]
    for image in [*images, *bases]:
        assert re.search(r":v?\d+\.\d+(\.\d+)?(-alpine|-slim)?$", image), image
    assert bases[0] == bases[1]


def test_no_service_has_rights_it_does_not_need(services):
    for name, service in services.items():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert ("cap_add" in service) == (name in AS_ROOT)
        if "image" in service and name not in AS_ROOT:
            assert service["user"] not in ("root", "0")


@pytest.mark.parametrize("name", ["api", "worker"])
def test_the_images_run_as_a_user_of_a_number_that_is_not_root(name):
    text = (ROOT / name / "Dockerfile").read_text()
    assert "\nUSER 10001:10001\n" in text
    assert "install -d -o timbre /data" in text


def test_the_database_is_upgraded_before_anything_else_starts(services):
    assert "python -m api.database upgrade" in services["migrate"]["command"][-1]
    assert services["migrate"]["depends_on"] == []
    for name in OURS - STEPS:
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_several_machines_see_the_secrets_that_their_settings_name(command, tmp_path, made):
    text = readme_block("shared/README.md", "several-machines")
    shown = configured(command, tmp_path, text)["services"]
    assert all(mounted(shown[name]) == ["timbre"] for name in OURS & SMALL)
    named = set(re.findall(r"/run/secrets/([\w.-]+)", text))
    assert named == {path.name for path in (made / "timbre").iterdir()} | {"redis-ca.pem"}
    said = DOCUMENTS["shared/README.md"].split(text)[1].split("To add")[0]
    assert all(f"`{name}`" in said for name in named)


def test_metrics_of_another_machine_are_published_and_scraped(command, tmp_path):
    override = tmp_path / "compose.override.yaml"
    override.write_text(readme_block("shared/README.md", "publish-metrics"))
    shown = configured(command, tmp_path, "", "-f", override)["services"]
    file = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    more = yaml.safe_load(readme_block("shared/README.md", "scrape-machines"))
    for job in more:
        (before,) = (one for one in file["scrape_configs"] if one["job_name"] == job["job_name"])
        (static,) = job.pop("static_configs")
        assert job == before
        assert [":".join(published(shown[job["job_name"]]))] == static["targets"]


def test_what_is_always_there_depends_on_nothing_that_is_not(services):
    for name in SMALL:
        assert set(services[name].get("depends_on", ())) <= SMALL


def test_redis_neither_forgets_nor_evicts(services):
    command = services["redis"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"


def test_redis_has_a_limit_of_memory_that_can_be_set(services):
    command = services["redis"]["command"]
    assert command[command.index("--maxmemory") + 1] == "${TIMBRE_REDIS_MEMORY:-1gb}"


def test_a_courier_has_time_to_note_what_it_has_sent(services):
    grace_s = float(services["courier"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > LAST_S


def test_redis_keeps_no_snapshots_of_what_was_deleted(services):
    command = services["redis"]["command"]
    assert command[command.index("--save") + 1] == ""


def test_nothing_but_the_proxy_is_open_to_other_machines_unless_asked(services):
    assert {name: service["ports"] for name, service in services.items() if "ports" in service} == {
        "api": ["${TIMBRE_PORT:-127.0.0.1:8000}:8000"],
        "stream": ["${TIMBRE_STREAM_PORT:-127.0.0.1:8001}:8001"],
        "proxy": ["80:80", "443:443"],
        "grafana": ["${GRAFANA_PORT:-127.0.0.1:3000}:3000"],
    }


def test_several_containers_of_a_kind_can_run_on_one_machine(command, tmp_path, compose, production):
    assert all("container_name" not in service for service in compose["services"].values())
    for name in ("api", "stream"):
        assert published(production[name]) == ("127.0.0.1", "")
    more = configured(command, tmp_path, f"{PRODUCTION}API_REPLICAS=2\nWORKER_REPLICAS=3\n")["services"]
    assert (more["api"]["scale"], more["worker"]["scale"]) == (2, 3)


def test_the_stream_is_the_api_image_and_listens_where_the_api_says(services):
    assert services["stream"]["build"] == services["api"]["build"]
    port = services["stream"]["environment"]["TIMBRE_STREAM_BIND"].rpartition(":")[2]
    assert services["api"]["environment"]["TIMBRE_STREAM_URL"].endswith(f":{port}}}")
    grace_s = float(services["stream"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > Caps().grace_s + Caps().close_s


def test_prometheus_finds_every_container_of_each_role_at_its_port(services):
    first = int(services["api"]["environment"]["TIMBRE_METRICS_BIND"].rpartition(":")[2])
    jobs = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    found = {job["job_name"]: (one["names"], one["type"], one["port"]) for job in jobs for one in job["dns_sd_configs"]}
    assert found == {role: ([role], "A", first + i) for i, role in enumerate(ROLES)}


def test_prometheus_accepts_its_file():
    if shutil.which("promtool") is None:
        pytest.skip("Prometheus is not installed")
    subprocess.run(["promtool", "check", "config", "--syntax-only", DEPLOY / "prometheus.yml"], check=True)


def test_the_proxy_takes_the_largest_upload_and_a_form_around_it():
    found = re.search(r"\{\$MAX_BODY:(\d+)MiB\}", CADDYFILE.read_text())
    assert found is not None
    assert 1.05 < int(found[1]) * MIB / Settings().max_upload_bytes() < 1.1


def test_the_proxy_is_told_what_its_file_asks_for(services):
    asked = set(re.findall(r"\{\$(\w+)", CADDYFILE.read_text()))
    # Those of tests, which cannot have the names and ports of containers.
    given = {"ADMIN", "HTTP_PORT", "HTTPS_PORT"} | {
        f"{n}_{part}" for n in ("API", "STREAM", "STORE") for part in ("HOST", "PORT")
    }
    assert asked == set(services["proxy"]["environment"]) | given


def test_caddy_accepts_its_file(tmp_path):
    if shutil.which("caddy") is None:
        pytest.skip("Caddy is not installed")
    given = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    for certificates in ("", "tls internal"):
        run = ["caddy", "validate", "--config", str(CADDYFILE), "--adapter", "caddyfile"]
        subprocess.run(run, env=given | {"CERTIFICATES": certificates}, check=True, capture_output=True)


def test_the_proxy_asks_for_addresses_again_while_it_tries(tmp_path):
    if shutil.which("caddy") is None:
        pytest.skip("Caddy is not installed")
    run = ["caddy", "adapt", "--config", str(CADDYFILE), "--adapter", "caddyfile"]
    given = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    adapted = json.loads(subprocess.run(run, env=given, check=True, capture_output=True).stdout)
    upstreams = list(proxied(adapted))
    assert {upstream["dynamic_upstreams"]["name"] for upstream in upstreams} == {"api", "stream", "store"}
    for upstream in upstreams:
        assert upstream["dynamic_upstreams"]["refresh"] < upstream["load_balancing"]["try_duration"] / 2


def proxied(part):
    """Yield each upstream of a part of Caddy's settings."""
    if isinstance(part, dict) and "dynamic_upstreams" in part:
        yield part
    elif isinstance(part, dict | list):
        for inner in part.values() if isinstance(part, dict) else part:
            yield from proxied(inner)


def test_every_variable_of_the_example_is_one_that_compose_reads(compose):
    text = (ROOT / "compose.yaml").read_text()
    passed = {name for service in compose["services"].values() for name in service.get("environment", {})}
    read = passed | set(re.findall(r"\$\{(\w+)", text)) | {"COMPOSE_PROFILES"}
    named = set(re.findall(r"^#([A-Z_0-9]+)=", EXAMPLE, re.MULTILINE))
    assert named <= read
    assert set(re.findall(r"\$\{(\w+)", text)) - named <= {"TIMBRE_REDIS_URL"}


def test_files_that_are_mounted_exist(services):
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            if source.startswith("./shared"):
                assert (ROOT / source).exists(), source


def test_secrets_and_settings_are_in_no_commit_and_no_image():
    for name in (".gitignore", ".dockerignore"):
        ignored = (ROOT / name).read_text().split()
        assert ".env" in ignored
        assert {"secrets", "secrets/"} & set(ignored)


@pytest.mark.parametrize("name", ["api", "worker"])
def test_the_images_build_from_files_that_exist(services, name):
    dockerfile = ROOT / services[name]["build"]["dockerfile"]
    copied = re.findall(r"^COPY (\S+) ", dockerfile.read_text(), re.MULTILINE)
    assert copied
    assert all((ROOT / path).exists() for path in copied)


def test_the_api_image_installs_no_neural_network():
    packages = (ROOT / "api" / "requirements.lock").read_text()
    assert not re.search(r"^(torch|nemo|onnx|scipy|av)", packages, re.MULTILINE)
