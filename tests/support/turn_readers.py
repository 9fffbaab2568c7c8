"""Strict readers of exported turns, written from the formats' own texts: whatever is loose in a file is an error."""

import csv
import html
import io
import re

#: Start, end, name and text of each turn, in seconds.
Read = list[tuple[float, float, str, str]]

_TIME = r"(\d\d+):([0-5]\d):([0-5]\d)[.,](\d{3})"
_RTTM = re.compile(r"SPEAKER (\S+) 1 (\d+\.\d{3}) (\d+\.\d{3}) <NA> <NA> (\S+) <NA> <NA>")
_VOICE = re.compile(r"<v ([^<>\n]+)>([^<>\n]+)</v>")


def read_rttm(text: str, file_id: str) -> Read:
    """Read RTTM of one file and channel."""
    found = [_RTTM.fullmatch(line) for line in _lines(text)]
    assert all(one and one[1] == file_id for one in found), text
    return [(float(one[2]), float(one[2]) + float(one[3]), one[4], "") for one in found if one]


def read_srt(text: str) -> Read:
    """Read SubRip: a number, times, one line of text and an empty line for each cue; the name stands before a colon."""
    found: Read = []
    for number, block in enumerate(_blocks(text), 1):
        counted, times, said = block.split("\n")
        assert counted == str(number)
        assert "," in times and "." not in times
        assert not re.search(r"[<>]", said), said
        name, _, words = said.partition(": ")
        found.append((*_times(times), name, words))
    return found


def read_vtt(text: str) -> Read:
    """Read WebVTT whose cues are one voice span each."""
    head, *cues = _blocks(text + "\n")
    assert head == "WEBVTT"
    found: Read = []
    for cue in cues:
        times, payload = cue.split("\n")
        assert "," not in times
        voice = _VOICE.fullmatch(payload)
        assert voice, payload
        found.append((*_times(times), _unmarked(voice[1]), _unmarked(voice[2])))
    return found


def read_csv(text: str) -> tuple[Read, list[str]]:
    """Read CSV with a header; returns the labels too. No cell may begin as a formula does."""
    assert text.endswith("\r\n")
    header, *rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert header == ["start", "end", "speaker", "diarizationSpeaker", "text"]
    assert not [cell for row in rows for cell in row if re.match(r"[=+\-@＝＋－＠\t\r]", cell)]
    return [(float(start), float(end), name, said) for start, end, name, _, said in rows], [row[3] for row in rows]


def _lines(text: str) -> list[str]:
    assert not text or text.endswith("\n")
    return text.split("\n")[:-1]


def _blocks(text: str) -> list[str]:
    """Return what stands between empty lines, one of which must end the text."""
    assert not text or text.endswith("\n\n")
    return text.split("\n\n")[:-1]


def _times(line: str) -> tuple[float, float]:
    found = re.fullmatch(f"{_TIME} --> {_TIME}", line)
    assert found, line
    numbers = [int(one) for one in found.groups()]
    start_s, end_s = (3600 * h + 60 * m + s + ms / 1000 for h, m, s, ms in (numbers[:4], numbers[4:]))
    assert start_s < end_s
    return start_s, end_s


def _unmarked(text: str) -> str:
    assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", text), text
    return html.unescape(text)
