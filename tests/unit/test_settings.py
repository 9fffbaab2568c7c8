import multiprocessing
import re
import stat
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from pathlib import Path
from urllib.parse import unquote

import pytest
from redis.connection import parse_url
from sqlalchemy import make_url

from shared.domain.errors import SettingsError
from shared.domain.sentinels import Sentinels
from shared.settings import Settings


def test_an_empty_environment_gives_the_defaults():
    settings = Settings.from_env({})
    assert settings == Settings()
    assert settings.max_audio_s == 30
    assert settings.max_file_bytes == 104_857_600
    assert settings.result_ttl_s == 86_400


def test_variables_of_others_are_left_alone():
    assert Settings.from_env({"PATH": "/bin", "REDIS_URL": "x"}) == Settings()


def test_every_kind_of_value_is_read():
    settings = Settings.from_env(
        {
            "TIMBRE_REDIS_URL": "redis://cache:6379/3",
            "TIMBRE_DATA_DIR": "/var/lib/timbre",
            "TIMBRE_API_THREADS": "4",
            "TIMBRE_MAX_AUDIO_S": "12.5",
            "TIMBRE_MODEL": "ge2e",
        }
    )
    assert settings.redis_url == "redis://cache:6379/3"
    assert settings.data_dir == Path("/var/lib/timbre")
    assert settings.api_threads == 4
    assert settings.max_audio_s == 12.5
    assert settings.model == "ge2e"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("TIMBRE_REDIS_ULR", "x", "Did you mean TIMBRE_REDIS_URL"),
        ("TIMBRE_QQQQ", "x", "README"),
        ("TIMBRE_ALLOWED_PORTS", "0", "neither a port"),
        ("TIMBRE_ALLOWED_PORTS", "90-80", "neither a port"),
        ("TIMBRE_ALLOWED_PORTS", "80,http", "neither a port"),
        ("TIMBRE_ALLOWED_PORTS", "65536", "neither a port"),
        ("TIMBRE_ALLOWED_HOSTS", "10.0.0.1/8", "host bits"),
        ("TIMBRE_ALLOWED_HOSTS", "storage.lan:9000", "neither a host name nor a network"),
        ("TIMBRE_API_THREADS", "many", "not a number"),
        ("TIMBRE_API_THREADS", "0", "positive"),
        ("TIMBRE_LEASE_S", "inf", "positive"),
        ("TIMBRE_LEASE_S", "nan", "positive"),
        ("TIMBRE_MAX_AUDIO_S", "601", "at most 600"),
        ("TIMBRE_WAIT_SHARE", "0", "positive"),
        ("TIMBRE_WAIT_SHARE", "1.01", "at most 1"),
        ("TIMBRE_CORS_ORIGINS", "app.example.org", "scheme://host"),
        ("TIMBRE_CORS_ORIGINS", "https://app.example.org/", "and no more"),
        ("TIMBRE_CORS_ORIGINS", "https://a.example,https://user@b.example", "user@b.example"),
        ("TIMBRE_CORS_ORIGINS", "https://app.example.org?", "and no more"),
        ("TIMBRE_CORS_ORIGINS", "https://a.example https://b.example", "and no more"),
        ("TIMBRE_CORS_ORIGINS", "https://*.example.org", "scheme://host"),
        ("TIMBRE_CORS_ORIGINS", "https://app.example.org:0", "from 1 to 65535"),
        ("TIMBRE_CORS_ORIGINS", "https://app.example.org:99999", "from 1 to 65535"),
        ("TIMBRE_CORS_ORIGINS", "null", "scheme://host"),
        ("TIMBRE_MODEL", "", "empty"),
        ("TIMBRE_LOG_LEVEL", "loud", "debug, info"),
        ("TIMBRE_BIND", "8000", "HOST:PORT"),
        ("TIMBRE_BIND", "127.0.0.1:99999", "from 1 to 65535"),
        ("TIMBRE_BIND", "127.0.0.1:0", "from 1 to 65535"),
        ("TIMBRE_BIND", "::1:8000", "from 1 to 65535"),
        ("TIMBRE_LEASE_S", "0.000001", "at least 1"),
        ("TIMBRE_RESULT_TTL_S", "99999999999999999999", "at most 315360000"),
        ("TIMBRE_GRACE_S", "1e300", "at most 315360000"),
        ("TIMBRE_REDIS_URL", "http://x", "redis://"),
        ("TIMBRE_REDIS_URL", "redis://x:y/0", "from 1 to 65535"),
        ("TIMBRE_REDIS_URL", "sentinel://one,two/0", "master=NAME"),
        ("TIMBRE_REDIS_URL", "sentinel://one,two/0?master=", "master=NAME"),
        ("TIMBRE_REDIS_URL", "sentinel://one:26379,/0?master=m", "HOST:PORT"),
        ("TIMBRE_REDIS_URL", "sentinel://one:26379;two:26379/0?master=m", "HOST:PORT"),
        ("TIMBRE_REDIS_URL", "sentinel://one:0/0?master=m", "from 1 to 65535"),
        ("TIMBRE_REDIS_URL", "sentinel://one:99999/0?master=m", "from 1 to 65535"),
        ("TIMBRE_REDIS_URL", "sentinel://one/first?master=m", "number of a database"),
        ("TIMBRE_REDIS_URL", "sentinel://one/0?master=m&tls=yes", "its options may be master"),
        ("TIMBRE_REDIS_URL", "sentinel://one/0?master=m&ssl_ca_certs=/ca.pem", "for sentinels://"),
        ("TIMBRE_DATABASE_URL", "nonsense", "postgresql://"),
        ("TIMBRE_DATABASE_URL", "oracle://x/y", "postgresql://"),
        ("TIMBRE_PUBLIC_URL", "timbre.example.org", "https://"),
        ("TIMBRE_PUBLIC_URL", "https://", "https://"),
        ("TIMBRE_PUBLIC_URL", "https://timbre.example.org:0", "from 1 to 65535"),
        ("TIMBRE_S3_ENDPOINT_URL", "nonsense", "https://"),
        ("TIMBRE_S3_PUBLIC_URL", "nonsense", "https://"),
        ("TIMBRE_SECRET", "short", "32 characters"),
        ("TIMBRE_SECRET", " " * 40, "32 characters"),
        ("TIMBRE_SECRET_FILE", "/does/not/exist", "cannot read"),
    ],
)
def test_a_wrong_variable_stops_the_start_and_is_named(name, value, says):
    with pytest.raises(SettingsError, match=says) as caught:
        Settings.from_env({name: value})
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TIMBRE_REDIS_URL", "rediss://user:pass@cache:6380/3"),
        ("TIMBRE_REDIS_URL", "unix:///run/redis.sock?db=1"),
        ("TIMBRE_REDIS_URL", "sentinel://one:26379,two,[::1]:26380/3?master=m"),
        ("TIMBRE_REDIS_URL", "sentinels://:p%40ss@one?master=m&sentinel_password=a@b&ssl_ca_certs=/etc/ca.pem"),
        ("TIMBRE_DATABASE_URL", "postgres://timbre:a#b@db/timbre"),
        ("TIMBRE_DATABASE_URL", "sqlite:////var/lib/timbre.db"),
        ("TIMBRE_BIND", "[::1]:57999"),
        ("TIMBRE_BIND", "localhost:65535"),
        ("TIMBRE_PUBLIC_URL", "https://example.org:8443/timbre"),
        ("TIMBRE_S3_ENDPOINT_URL", "http://minio:9000"),
    ],
)
def test_what_is_well_formed_is_taken(name, value):
    assert getattr(Settings.from_env({name: value}), name.removeprefix("TIMBRE_").lower()) == value


@pytest.mark.parametrize(
    "url",
    [
        "sentinel://:topsecret@one",
        "sentinel://:topsecret@one:x?master=m",
        "sentinel://:topsecret@one?master=m&x=topsecret",
        "sentinel://one?sentinel_password=topsecret",
        "sentinel://:top@secret@one?master=m",
    ],
)
def test_a_wrong_address_of_sentinels_is_not_shown_either(url):
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"TIMBRE_REDIS_URL": url})
    assert "secret" not in str(caught.value)


def test_the_password_of_redis_goes_into_an_address_of_sentinels_and_not_to_them():
    url = "sentinel://one:26379,two:26380/2?master=m&sentinel_password=theirs"
    settings = Settings.from_env({"TIMBRE_REDIS_URL": url, "TIMBRE_REDIS_PASSWORD": "p@ss/word"})
    found = Sentinels.parse(settings.redis_url)
    assert (found.hosts, found.master, found.password) == ((("one", 26379), ("two", 26380)), "m", "theirs")
    given = parse_url(found.primary_url)
    assert (given["password"], given["db"]) == ("p@ss/word", 2)
    assert "p@ss" not in repr(found)


def test_a_wrong_address_is_not_shown_since_it_may_hold_a_password():
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"TIMBRE_REDIS_URL": "http://:topsecret@cache"})
    assert "topsecret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TIMBRE_DATABASE_URL", "postgresql://timbre:top@secret@db/timbre"),
        ("TIMBRE_DATABASE_URL", "postgresql://timbre:top@secret:word@db:5432/timbre"),
        ("TIMBRE_DATABASE_URL", "postgres://timbre:top@secret/word@db/timbre"),
        ("TIMBRE_DATABASE_URL", "postgresql+psycopg://timbre:top@secret?word@db/timbre?sslmode=require"),
        ("TIMBRE_REDIS_URL", "redis://:top/secret@cache:6379/0"),
        ("TIMBRE_REDIS_URL", "redis://:top?secret@cache:6379/0"),
        ("TIMBRE_REDIS_URL", "rediss://user:top#secret@cache"),
        ("TIMBRE_REDIS_URL", "redis://:to@p/secret@cache/0"),
        ("TIMBRE_REDIS_URL", "redis://:top[secret@cache:6379/0"),
        ("TIMBRE_REDIS_URL", "redis://:top]secret@[::1]:6379/0"),
    ],
)
def test_a_password_that_must_be_percent_encoded_is_explained_and_not_shown(name, value):
    with pytest.raises(SettingsError, match="%40, / as %2F") as caught:
        Settings.from_env({name: value})
    assert name in str(caught.value)
    assert not {"top", "secret", "word"} & set(re.findall(r"\w+", str(caught.value).replace("password", "")))


@pytest.mark.parametrize("password", ["p%40ss", "p/s?s#x", "p%2Fss", "p:ss", "p[s]s"])
def test_what_the_database_driver_can_read_of_a_password_is_taken(password):
    for rest in ("db/timbre", "db/timbre?options=-csearch_path%3Dx&application_name=a@b"):
        settings = Settings.from_env({"TIMBRE_DATABASE_URL": f"postgresql://timbre:{password}@{rest}"})
        assert make_url(settings.sql_url()).password == unquote(password)
        assert make_url(settings.sql_url()).host == "db"


@pytest.mark.parametrize(
    "url", ["redis://:p@ss@cache:6379/0", "redis://cache/0?password=p@ss", "redis://cache?password=p@ss"]
)
def test_what_the_redis_client_can_read_of_a_password_is_taken(url):
    settings = Settings.from_env({"TIMBRE_REDIS_URL": url})
    given = parse_url(settings.redis_url)
    assert (given["password"], given["host"]) == ("p@ss", "cache")


@pytest.mark.parametrize(
    ("given", "origins"),
    [
        (None, set()),
        ("*", {"*"}),
        ("https://App.Example.org:443, http://localhost:3000", {"https://app.example.org", "http://localhost:3000"}),
        ("http://a.example:80,https://b.example:80", {"http://a.example", "https://b.example:80"}),
        ("http://[::1]:8080,capacitor://localhost", {"http://[::1]:8080", "capacitor://localhost"}),
    ],
)
def test_origins_are_kept_as_browsers_write_them(given, origins):
    environment = {} if given is None else {"TIMBRE_CORS_ORIGINS": given}
    assert Settings.from_env(environment).allowed_origins() == origins


def test_a_child_process_given_the_environment_reads_the_same_settings(tmp_path):
    settings = Settings(data_dir=tmp_path, allowed_hosts="10.0.0.0/8", model="ge2e", lease_s=2.5, secret="s" * 32)
    assert Settings.from_env(settings.environment()) == settings


def test_a_secret_is_made_once_and_only_its_owner_may_read_it(tmp_path):
    settings = Settings(data_dir=tmp_path / "new")
    secret = settings.secret_bytes()
    assert len(secret) >= 32
    assert settings.secret_bytes() == secret
    assert stat.S_IMODE((tmp_path / "new" / "secret").stat().st_mode) == 0o600


def _secret_in_step(folder, processes):
    """Ask for the secret of a new folder, at the same moment as the other processes."""
    processes.wait()
    return Settings(data_dir=folder).secret_bytes()


def test_processes_that_start_together_agree_on_a_secret(tmp_path):
    together = 3
    with multiprocessing.Manager() as manager, ProcessPoolExecutor(together) as pool:
        barrier = manager.Barrier(together)
        for number in range(60):
            folder = tmp_path / str(number)
            calls = [pool.submit(_secret_in_step, folder, barrier) for _ in range(together)]
            assert len({call.result() for call in calls}) == 1
            assert [path.name for path in folder.iterdir()] == ["secret"]


def test_a_secret_may_come_from_a_file(tmp_path):
    (tmp_path / "secret.txt").write_text("x" * 40 + "\n")
    assert Settings.from_env({"TIMBRE_SECRET_FILE": str(tmp_path / "secret.txt")}).secret_bytes() == b"x" * 40
    assert Settings.from_env({"TIMBRE_SECRET": "x" * 40 + "\n"}).secret_bytes() == b"x" * 40


def test_the_secret_is_not_shown_when_settings_are_printed():
    assert "topsecret" not in repr(Settings(secret="topsecret" * 4))


def test_every_setting_says_what_it_is_for():
    assert all(len(f.metadata["doc"]) > 10 for f in fields(Settings))


def test_the_bucket_of_uploads_cannot_be_one_that_every_client_may_read():
    with pytest.raises(SettingsError, match="clients' own"):
        Settings.from_env({"TIMBRE_S3_BUCKET": "uploads", "TIMBRE_S3_SOURCE_BUCKETS": "calls, uploads"})
    assert Settings.from_env({"TIMBRE_S3_BUCKET": "uploads", "TIMBRE_S3_SOURCE_BUCKETS": "calls"})


def test_the_password_of_a_database_that_is_a_file_is_refused():
    with pytest.raises(SettingsError, match="must name a server"):
        Settings.from_env({"TIMBRE_DATABASE_URL": "sqlite:////x.db", "TIMBRE_DATABASE_PASSWORD": "p"})
