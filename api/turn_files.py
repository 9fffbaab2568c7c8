"""Turns as files: RTTM, SubRip, WebVTT and CSV."""

import csv
import html
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from shared.domain.text import one_line
from shared.domain.turns import ExportedTurn, TurnExport

#: Place before a sign with which spreadsheets begin a formula, the wide ones of East Asian keyboards too. It is the
#: beginning of a cell, or lies behind a `;`, by which the spreadsheets of many countries separate cells.
_FORMULA = re.compile(r'^(?=[=+\-@＝＋－＠])|;(?=[\s"]*[=+\-@＝＋－＠])')
#: SubRip has tags and, from SubStation Alpha, codes such as `{\\an8}` and `\\N`, but no entities: players would show
#: `&lt;` as it is written.
_NO_TAGS = str.maketrans("<>{}\\", "‹›｛｝＼")
#: Null of RTTM.
_NULL = "<NA>"
_COLUMNS = ("start", "end", "speaker", "diarizationSpeaker", "text")


def to_rttm(export: TurnExport, job_id: str) -> str:
    """Return turns as RTTM (NIST RT-09 evaluation plan, appendix A): ten fields a line, with blanks between them."""
    lines = (
        f"SPEAKER {job_id} 1 {start:.3f} {end - start:.3f} <NA> <NA> {_field(turn)} <NA> <NA>\n"
        for turn in export.turns
        for start, end in [(turn.segment.start_s, turn.segment.end_s)]
    )
    return "".join(lines)


def to_srt(export: TurnExport, job_id: str) -> str:
    """Return words, or else names, as SubRip subtitles."""
    cues = (
        f"{number}\n{_cue_times(turn).replace('.', ',')}\n{_subtitle(turn)}\n\n"
        for number, turn in enumerate(export.captions, 1)
    )
    return "".join(cues)


def to_vtt(export: TurnExport, job_id: str) -> str:
    """Return words, or else names, as WebVTT (W3C) with a voice span for each."""
    cues = (
        f"\n{_cue_times(turn)}\n<v {_markup(_name(turn))}>{_markup(one_line(turn.text) or _name(turn))}</v>\n"
        for turn in export.captions
    )
    return "WEBVTT\n" + "".join(cues)


def to_csv(export: TurnExport, job_id: str) -> str:
    """Return words, or else turns, as CSV (RFC 4180) with a header; to no spreadsheet is it a formula."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(_COLUMNS)
    for turn in export.captions:
        times = (f"{turn.segment.start_s:.3f}", f"{turn.segment.end_s:.3f}")
        writer.writerow([*times, *map(_cell, (_name(turn), turn.speaker, turn.text))])
    return file.getvalue()


@dataclass(frozen=True)
class TurnFile:
    """Format of a file of turns."""

    render: Callable[[TurnExport, str], str]
    media_type: str
    example: str


#: By the word of the query that asks for it, which is the extension of its name too.
FILES: Mapping[str, TurnFile] = {
    "rttm": TurnFile(
        to_rttm, "text/plain", "SPEAKER 8b0e0c4e-54b4-4f5b-9d5f-0123456789ab 1 0.520 3.660 <NA> <NA> Ann <NA> <NA>\n"
    ),
    "srt": TurnFile(to_srt, "application/x-subrip", "1\n00:00:00,520 --> 00:00:04,180\nAnn: Good morning.\n\n"),
    "vtt": TurnFile(to_vtt, "text/vtt", "WEBVTT\n\n00:00:00.520 --> 00:00:04.180\n<v Ann>Good morning.</v>\n"),
    "csv": TurnFile(to_csv, "text/csv", f"{','.join(_COLUMNS)}\r\n0.520,4.180,Ann,SPEAKER_00,Good morning.\r\n"),
}


def _name(turn: ExportedTurn) -> str:
    return one_line(turn.name) or turn.speaker


def _field(turn: ExportedTurn) -> str:
    """Return the name as one field of RTTM: no blank ends it, and no quote takes the next ones along."""
    field = "_".join(_name(turn).replace('"', "'").split())
    return field.translate(_NO_TAGS) if field == _NULL else field


def _subtitle(turn: ExportedTurn) -> str:
    text = one_line(turn.text)
    return (f"{_name(turn)}: {text}" if text else _name(turn)).translate(_NO_TAGS)


def _markup(text: str) -> str:
    """Return text that is no tag, no entity and no arrow between times."""
    return html.escape(text, quote=False)


def _cell(text: str) -> str:
    """Return a text on one line that begins no formula: a `'` stands before each."""
    return _FORMULA.sub(r"\g<0>'", one_line(text))


def _cue_times(turn: ExportedTurn) -> str:
    return f"{_clock(turn.segment.start_s)} --> {_clock(turn.segment.end_s)}"


def _clock(seconds: float) -> str:
    """Return a time as hours, minutes, seconds and milliseconds."""
    minutes, ms = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{ms // 1000:02d}.{ms % 1000:03d}"
