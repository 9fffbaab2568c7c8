"""Command line for clients, API keys and webhook secrets: `python -m api.keys --help`."""

import itertools
from datetime import datetime
from pathlib import Path

import click
import structlog
from redis.exceptions import RedisError
from sqlalchemy.exc import DatabaseError

from api.client_removal import ClientRemoval
from shared.adapters.sql.administration import Administration
from shared.adapters.sql.clients import SqlClients
from shared.adapters.sql.database import open_database
from shared.domain.errors import KeyEndedError, SecretRotating, SettingsError, Unavailable, UnknownNameError
from shared.domain.identities import is_handle
from shared.domain.keys import MAX_OVERLAP_S, MAX_WEIGHT
from shared.settings import Settings, write_private

FIRST_KEY_FILE = "first-api-key"
_DAY_S = 24 * 3600

log = structlog.get_logger()


def make_first_key(settings: Settings) -> None:
    """Make the first client, where there is none, and leave its key in the data folder, mode 0600."""
    clients = SqlClients(open_database(settings.sql_url()), settings.secret_bytes())
    clients.create_first_key(lambda key: keep_first_key(settings.data_dir, key))


def keep_first_key(data_dir: Path, key: str) -> None:
    """Write the first key to its file; an older file is renamed first."""
    file = data_dir / FIRST_KEY_FILE
    if file.exists():
        names = (file.with_name(f"{FIRST_KEY_FILE}.{number}") for number in itertools.count(1))
        aside = next(name for name in names if not name.exists())
        file.rename(aside)
        log.warning("a new database has a new first key; the file of the old key was renamed", old_key=aside.name)
    write_private(file, key + "\n")


def unusable(error: OSError | DatabaseError) -> str:
    """Return the message that the data folder or the database cannot be used, with the reason."""
    reason = error.orig if isinstance(error, DatabaseError) else error
    return f"The data folder or the database cannot be used (TIMBRE_DATA_DIR, TIMBRE_DATABASE_URL): {reason}"


class _Commands(click.Group):
    """Command group that reports errors as sentences, not as tracebacks."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (SettingsError, UnknownNameError, KeyEndedError, SecretRotating, Unavailable) as error:
            raise click.ClickException(str(error)) from error
        except BrokenPipeError:
            # The reader is gone, which click handles.
            raise
        except RedisError as error:
            raise click.ClickException(f"Redis cannot be reached (TIMBRE_REDIS_URL): {error}") from error
        except (OSError, DatabaseError) as error:
            raise click.ClickException(unusable(error)) from error


@click.group(cls=_Commands)
@click.pass_context
def main(context: click.Context) -> None:
    """Manage clients, API keys and webhook secrets. New keys and secrets are printed once and never again."""
    settings = Settings.from_env()
    context.obj = Administration(open_database(settings.sql_url()), settings.secret_bytes())


_overlap = click.option(
    "--overlap",
    "overlap_s",
    type=click.IntRange(0, MAX_OVERLAP_S),
    default=_DAY_S,
    show_default=True,
    help="Seconds for which the old one still works.",
)


def _require_shown(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    """Refuse a name that a list could not show on one line."""
    if not name.strip() or not name.isprintable():
        raise click.BadParameter("A name has a character that can be seen, and none that controls a terminal.")
    return name


def _require_handle(_context: click.Context, _parameter: click.Parameter, group: str | None) -> str | None:
    """Refuse a group that no space can be called."""
    if group is not None and not is_handle(group):
        raise click.BadParameter(
            "A group has 1 to 128 letters, digits and ._@+- and begins with a letter or digit; it is no id."
        )
    return group


@main.command()
@click.argument("name", callback=_require_shown)
@click.option(
    "--group",
    callback=_require_handle,
    help="User group, a space, that is made if it is new; the key is good for voice biometrics users in it alone.",
)
@click.pass_obj
def create(administration: Administration, name: str, group: str | None) -> None:
    """Make an API key for the client NAME, and the client if it is new. The key goes to stdout, its id to stderr."""
    key = administration.create_group_key(name, group) if group else administration.create_key(name)
    _show_key(administration, key)


@main.command("list")
@click.pass_obj
def show(administration: Administration) -> None:
    """List keys and webhook secrets with their ids, and the names and ids of their clients."""
    for entry in administration.entries():
        times = _at("made", entry.created_at) + _at("ends", entry.ends_at)
        state = "live" if entry.live else "ended"
        weight = f"  weight {entry.weight}" if entry.weight > 1 else ""
        group = f"  group {entry.group}" if entry.group else ""
        click.echo(f"{entry.client}  {entry.kind} {entry.id}  {state}{times}  client {entry.client_id}{weight}{group}")


@main.command()
@click.argument("key_id")
@_overlap
@click.pass_obj
def rotate(administration: Administration, key_id: str, overlap_s: int) -> None:
    """Replace the API key with this id by a new one, of the same group, printed as by `create`."""
    _show_key(administration, administration.rotate_key(key_id, overlap_s))


@main.command()
@click.argument("key_id")
@click.pass_obj
def revoke(administration: Administration, key_id: str) -> None:
    """End the API key with this id; the API notices within 5 s."""
    administration.revoke_key(key_id)


@main.command()
@click.argument("name")
@click.pass_obj
def revoke_client(administration: Administration, name: str) -> None:
    """End the client NAME and all its keys; the API notices within 5 s. `create` brings it back."""
    administration.revoke_client(name)


@main.command()
@click.argument("name")
def delete_client(name: str) -> None:
    """Delete the client NAME with all that is kept for it, and print a receipt. It cannot be brought back."""
    click.echo(ClientRemoval.from_settings(Settings.from_env()).remove(name))


@main.command()
@click.argument("name")
@click.argument("turns", type=click.IntRange(1, MAX_WEIGHT))
@click.pass_obj
def weight(administration: Administration, name: str, turns: int) -> None:
    """Give the client NAME so many TURNS each time that every other client has one; a new client has one."""
    administration.weigh(name, turns)


@main.command()
@click.argument("name")
@_overlap
@click.pass_obj
def rotate_secret(administration: Administration, name: str, overlap_s: int) -> None:
    """Replace the webhook secret of the client NAME by a new one."""
    click.echo(administration.rotate_secret(name, overlap_s))


@main.command()
@click.argument("name")
@click.pass_obj
def revoke_secrets(administration: Administration, name: str) -> None:
    """End every webhook secret of the client NAME at once and make a new one."""
    click.echo(administration.revoke_secrets(name))


def _show_key(administration: Administration, key: str) -> None:
    """Print a new key alone on stdout, for scripts, and its id on stderr."""
    click.echo(key)
    click.echo(f"id: {administration.key_id(key)}", err=True)


def _at(what: str, time: datetime | None) -> str:
    return f"  {what} {time:%Y-%m-%d %H:%M}" if time else ""


if __name__ == "__main__":
    main()
