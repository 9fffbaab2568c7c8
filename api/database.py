"""Command line for the database: `python -m api.database --help`."""

import os
from dataclasses import dataclass
from pathlib import Path

import click
from alembic.util import CommandError
from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError

from api.keys import unusable
from shared.adapters.sql import copying, database
from shared.domain.errors import BackupRefused, SettingsError
from shared.settings import Settings


class _Commands(click.Group):
    """Command group that reports errors as sentences, not as tracebacks."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (SettingsError, BackupRefused) as error:
            raise click.ClickException(str(error)) from error
        except (OSError, DatabaseError) as error:
            raise click.ClickException(unusable(error)) from error
        except CommandError as error:
            raise click.ClickException(f"The revision of the database cannot be changed: {error}") from error
        except ValueError as error:
            # Its text may quote a row.
            raise click.ClickException(
                "A row cannot be read, so nothing was changed: the backup is damaged."
            ) from error


@dataclass(frozen=True)
class _Place:
    """Settings, and the database that they name."""

    settings: Settings
    engine: Engine


@click.group(cls=_Commands)
@click.pass_context
def main(context: click.Context) -> None:
    """Migrate the database, back it up and restore it. Its files are for their owner alone."""
    os.umask(0o077)
    settings = Settings.from_env()
    context.obj = _Place(settings, database.open_migrated(settings.sql_url()))
    context.call_on_close(context.obj.engine.dispose)


@main.command()
@click.pass_obj
def upgrade(place: _Place) -> None:
    """Bring the database to the revision of this release. Several may do so at once, and again."""
    before, after = database.migrate(place.engine)
    said = "has been there before" if before == after else f"comes from {before}" if before else "was empty"
    click.echo(f"The database is at revision {after}; it {said}.")


@main.command()
@click.argument("revision")
@click.option("--yes", is_flag=True, help="Lose what is named without being asked.")
@click.pass_obj
def downgrade(place: _Place, revision: str, yes: bool) -> None:
    """Bring the database back to REVISION, that of an earlier release; says what is lost, and asks."""
    lost = [script.module.loses for script in database.migrations_after(revision)]
    click.echo(f"The database loses {'; and '.join(lost)}." if lost else "Nothing is lost.")
    if lost and not yes:
        click.confirm("Go on?", abort=True)
    before, after = database.downgrade(place.engine, revision)
    click.echo(f"The database is at revision {after}; it comes from {before}.")


@main.command()
@click.pass_obj
def status(place: _Place) -> None:
    """Say which revision the database has, and which this release needs. Exits with 1 where they differ."""
    found = database.revision(place.engine)
    needed = database.newest_revision()
    click.echo(f"The database is at revision {found or 'none'}, and this release at {needed}.")
    click.get_current_context().exit(found != needed)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.pass_obj
def backup(place: _Place, folder: Path) -> None:
    """Write the database, as it is at one moment, to SQLite files in the new FOLDER, while the service runs."""
    _tell(copying.back_up(place.engine, folder))


@main.command()
@click.argument("backup", type=click.Path(path_type=Path, exists=True))
@click.pass_obj
def restore(place: _Place, backup: Path) -> None:
    """Restore BACKUP into the empty database: a folder of `backup`, or a whole SQLite database, timbre.db."""
    _tell(copying.restore(place.engine, place.settings.secret_bytes(), backup, place.settings.data_dir))


def _tell(counts: copying.Counts) -> None:
    """Print the number of rows of each table."""
    for name, count in sorted(counts.items()):
        click.echo(f"{name}  {count}")


if __name__ == "__main__":
    main()
