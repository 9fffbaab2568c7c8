"""`python -m models.calibration [--model HANDLE] [--on MANIFEST]`: calibrate an installed model, or the bundled one."""

import sys
from pathlib import Path

import click

from models import registry
from models.calibration.corpus import SHIPPED
from models.calibration.installed import calibrate_installed
from shared.domain.errors import TimbreError
from shared.settings import Settings


@click.command()
@click.option("--model", help="Handle of an installed model; the default one if left out.")
@click.option("--on", "own", type=click.Path(path_type=Path), help="CSV of your own recordings: file, speaker.")
@click.option("--weights-dir", type=click.Path(path_type=Path), help="If not TIMBRE_WEIGHTS_DIR.")
@click.option("--corpus", type=click.Path(path_type=Path), default=SHIPPED, help="Folder of another corpus.")
def main(model: str | None, own: Path | None, weights_dir: Path | None, corpus: Path) -> None:
    """Calibrate a model on the speech that comes with Timbre, and on your own recordings in addition."""
    try:
        weights_dir = weights_dir or Settings.from_env().weights_dir
        card = registry.installed_card(model, weights_dir) if model else registry.default_card(weights_dir)
        calibrate_installed(card, weights_dir, corpus, own)
    except (TimbreError, OSError) as error:
        print(f"No model was calibrated. {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
