"""What the stack knows before it is started."""

import socket
import sys

import pytest
from structlog.testing import capture_logs

from api.keys import make_first_key
from shared.adapters.sql.administration import Administration
from shared.adapters.sql.clients import SqlClients
from shared.adapters.sql.database import open_database
from shared.local.stack import Process, Stack, StackError, require_free
from shared.settings import Settings
from tests.support.client import eventually


@pytest.fixture
def settings(tmp_path):
    settings = Settings(data_dir=tmp_path)
    make_first_key(settings)
    return settings


def test_the_first_key_is_known_as_long_as_it_is_good(settings):
    engine = open_database(settings.sql_url())
    key = Stack(settings).first_key()
    assert SqlClients(engine, settings.secret_bytes()).authenticate(key)
    Administration(engine, settings.secret_bytes()).revoke_client("default")
    assert Stack(settings).first_key() is None


def test_the_first_key_is_not_known_to_another_secret(settings):
    assert Stack(Settings(data_dir=settings.data_dir, secret="s" * 40)).first_key() is None


def test_the_first_key_is_not_known_when_its_file_is_gone_or_empty(settings):
    file = settings.data_dir / "first-api-key"
    file.write_text("")
    assert Stack(settings).first_key() is None
    file.unlink()
    assert Stack(settings).first_key() is None


def test_the_first_key_of_a_new_database_leaves_the_old_one_beside_it(settings):
    file, old = settings.data_dir / "first-api-key", []
    for number in (1, 2):
        old.append(file.read_text())
        (settings.data_dir / "timbre.db").unlink()
        with capture_logs() as logs:
            make_first_key(settings)
        assert logs[0]["old_key"] == f"first-api-key.{number}"
        assert (settings.data_dir / logs[0]["old_key"]).read_text() == old[-1]
        assert file.read_text().strip() == Stack(settings).first_key()
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in settings.data_dir.glob("first-api-key*"))
    assert len({file.read_text(), *old}) == 3
    assert not any(key.strip() in str(logs) for key in old)


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "[::1]")])
def test_an_address_is_free_until_somebody_listens_on_it(family, host):
    try:
        taken = socket.create_server((host.strip("[]"), 0), family=family)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    address = f"{host}:{taken.getsockname()[1]}"
    with taken, pytest.raises(StackError, match="in use"):
        require_free(address)
    require_free(address)


def test_a_child_has_the_settings_of_the_stack_and_none_of_the_environment(tmp_path, monkeypatch):
    """A value and the file that it was read from, side by side, would be refused."""
    (tmp_path / "secret").write_text("s" * 40)
    monkeypatch.setenv("TIMBRE_SECRET_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("TIMBRE_REDIS_PASSWORD", "hunter2")
    monkeypatch.setenv("TIMBRE_REDIS_URL", "redis://cache:6379/0")
    given = Settings.from_env()
    show = "from shared.settings import Settings; print(Settings.from_env() == Settings.from_env(), flush=True)"
    child = Process("child", [sys.executable, "-c", show], tmp_path / "log", given.environment())
    eventually(lambda: not child.alive)
    assert (tmp_path / "log").read_text() == "True\n"
    assert "hunter2" not in repr(given)
