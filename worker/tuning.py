"""Tune a model's thresholds of diarization: `python -m worker.tuning MANIFEST [--model MODEL] [--weights-dir DIR]`.

MANIFEST is a CSV file whose column `file` names recordings, relative to its own folder. Beside each lies its RTTM file
with the true turns: `meeting.wav`, `meeting.rttm`. Rows whose column `kind` says `single` are skipped. The thresholds
are kept beside the model's weights, if they are better on conversations that they were not tuned on.
"""

import argparse
import csv
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from models import registry, tuned
from shared.domain.audio import Segment
from shared.domain.diarization import Turn
from shared.domain.errors import JobFailure, TimbreError, TuningError
from shared.domain.models import ClusteringThresholds, ModelCard
from shared.logs import configure
from shared.settings import Settings
from worker.bootstrap import make_nets
from worker.recordings.decoder import ProcessDecoder
from worker.voices.diarization import hear_chunks
from worker.voices.error_rate import DiarizationError
from worker.voices.progress import Steps
from worker.voices.tuning import LEAST_CONVERSATIONS, Comparison, Conversation, Tuner, error_rate, hear
from worker.voices.voiceprint import Nets

#: Prints a line of progress.
Say = Callable[[str], None]

#: Longest recording, in seconds.
_MOST_S = 4 * 3600.0
#: Fields of an RTTM line up to the speaker's name.
_RTTM_FIELDS = 8


def tune(manifest: Path, settings: Settings, say: Say) -> None:
    """Tune the model of `settings` on the conversations of a manifest, and keep the thresholds if they are better.

    Raises
    ------
    TuningError
        The manifest, a recording or an RTTM file is wrong.
    ModelInstallError
        The model cannot be loaded.
    """
    files = read_manifest(manifest)
    references = {path: read_rttm(path.with_suffix(".rttm")) for path in files}
    nets = make_nets(settings)
    card = nets.embedder.card
    current = registry.untuned(card)
    conversations = list(_heard(references, nets, say))
    tuner = Tuner(conversations, current)
    comparison = tuner.cross_validate(say)
    say("All conversations ...")
    best = tuner.tune()
    print(_table(conversations, comparison, current, best))
    if not comparison.is_better or best == current:
        print("Nothing was kept: on conversations held out, tuned thresholds are no better beyond noise.")
        return
    path = tuned.tuned_file(card, settings.weights_dir)
    tuned.write(_record(card, manifest, conversations, comparison, _changed(current, best)), path)
    print(f"Kept in {path}; workers use them from their next start on. Delete the file to undo it.")


def read_manifest(path: Path) -> list[Path]:
    """Return the recordings that a manifest names; raises TuningError if one is missing, or they are too few."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            if "file" not in (table.fieldnames or ()):
                raise TuningError(f"The manifest {path} has no column `file`; its first line names the columns.")
            files = [path.parent / (row["file"] or "") for row in table if row.get("kind") != "single"]
    except (OSError, UnicodeError, csv.Error) as error:
        raise TuningError(f"The manifest {path} cannot be read as CSV: {error}") from error
    missing = next((file for file in files if not file.is_file()), None)
    if missing:
        raise TuningError(f"The manifest {path} names {missing}, which is no file.")
    conversations = list(dict.fromkeys(files))
    if len(conversations) < LEAST_CONVERSATIONS:
        raise TuningError(
            f"{path} names {len(conversations)} conversations; at least {LEAST_CONVERSATIONS} are needed."
        )
    return conversations


def read_rttm(path: Path) -> list[Turn]:
    """Return the turns of an RTTM file; raises TuningError, with the line, if it is not one."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise TuningError(f"{path} is missing: the true turns lie beside each recording.") from error
    except (OSError, UnicodeError) as error:
        raise TuningError(f"{path} cannot be read: {error}") from error
    turns = [_turn(path, i, line.split()) for i, line in enumerate(lines, 1) if line.split()[:1] == ["SPEAKER"]]
    if not turns:
        raise TuningError(f"{path} has no line that begins with SPEAKER; it is no RTTM file, or nobody speaks.")
    return turns


def _turn(path: Path, number: int, parts: Sequence[str]) -> Turn:
    try:
        start_s = float(parts[3])
        duration_s = float(parts[4])
        is_sound = math.isfinite(start_s + duration_s) and start_s >= 0.0 and duration_s >= 0.0
    except (ValueError, IndexError):
        is_sound = False
    if not is_sound or len(parts) < _RTTM_FIELDS:
        expected = "SPEAKER file channel start duration <NA> <NA> name"
        raise TuningError(f"{path}, line {number}: not `{expected}`, with start and duration in seconds.")
    return Turn(Segment(start_s, start_s + duration_s), parts[7])


def _heard(references: dict[Path, list[Turn]], nets: Nets, say: Say) -> Iterator[Conversation]:
    decoder = ProcessDecoder()
    try:
        for number, (path, reference) in enumerate(references.items(), 1):
            conversation = _hear(path, reference, nets, decoder)
            say(f"{number} of {len(references)}: {path.name}, {conversation.duration_s:.0f} s")
            yield conversation
    finally:
        decoder.stop()


def _hear(path: Path, reference: list[Turn], nets: Nets, decoder: ProcessDecoder) -> Conversation:
    try:
        with path.open("rb") as file, decoder.stream(file, _MOST_S) as stream:
            conversation = hear(path.name, reference, hear_chunks(stream, nets, Steps()), nets.embedder)
    except (OSError, JobFailure) as error:
        raise TuningError(f"{path} cannot be heard: {error}") from error
    if max(turn.segment.start_s for turn in reference) >= conversation.duration_s:
        raise TuningError(f"{path} ends after {conversation.duration_s:.1f} s, before the last of its RTTM's turns.")
    return conversation


def _record(
    card: ModelCard, manifest: Path, conversations: Sequence[Conversation], comparison: Comparison,
    thresholds: dict[str, float],
) -> tuned.Tuned:  # fmt: skip
    before, after = comparison.rates
    minutes = sum(one.duration_s for one in conversations) / 60
    return tuned.Tuned(
        model=card.model_id,
        data=f"{manifest.name}: {len(conversations)} conversations, {minutes:.0f} min",
        tuned_at=datetime.now(UTC).isoformat(timespec="seconds"),
        der_before=round(100 * before, 2),
        der_after=round(100 * after, 2),
        thresholds=thresholds,
    )


def _changed(current: ClusteringThresholds, best: ClusteringThresholds) -> dict[str, float]:
    before = asdict(current)
    return {name: value for name, value in asdict(best).items() if value != before[name]}


def _table(
    conversations: Sequence[Conversation],
    comparison: Comparison,
    current: ClusteringThresholds,
    best: ClusteringThresholds,
) -> str:
    pairs = list(zip(comparison.before, comparison.after, strict=True))
    lines = [f"{'conversation, held out':40} {'speech':>8} {'DER now':>8} {'tuned':>8}"]
    lines += [_row(one.name, [b], [a]) for one, (b, a) in zip(conversations, pairs, strict=True)]
    lines += [_row("all", comparison.before, comparison.after), "", f"{'threshold':40} {'now':>8} {'tuned':>8}"]
    changed = _changed(current, best)
    names = [field.name for field in fields(ClusteringThresholds) if field.name in changed]
    return "\n".join([*lines, *(f"{name:40} {getattr(current, name):8g} {changed[name]:8g}" for name in names)])


def _row(name: str, before: Iterable[DiarizationError], after: Sequence[DiarizationError]) -> str:
    speech_s = sum(error.speech_s for error in after)
    return f"{name[-40:]:40} {speech_s:6.0f} s {100 * error_rate(before):6.1f} % {100 * error_rate(after):6.1f} %"


def main(arguments: Sequence[str] | None = None) -> int:
    """Tune on the manifest of the command line; return 0, or 1 after printing the error."""
    parser = argparse.ArgumentParser(prog="python -m worker.tuning", description="Tune a model's diarization.")
    parser.add_argument("manifest", type=Path, metavar="MANIFEST")
    parser.add_argument("--model", help="one of those installed, if not the worker's")
    parser.add_argument("--weights-dir", type=Path, metavar="DIR")
    options = parser.parse_args(arguments)
    try:
        settings = Settings.from_env()
        settings = replace(
            settings,
            model=options.model or settings.model,
            weights_dir=options.weights_dir or settings.weights_dir,
        )
        tune(options.manifest, settings, lambda line: print(line, file=sys.stderr, flush=True))
    except (TimbreError, OSError) as error:
        print(f"Nothing was tuned. {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    # The decoder's notes would stand in the midst of the table.
    configure("warning")
    sys.exit(main())
