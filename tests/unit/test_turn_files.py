"""Exported turns, read back by readers that are not ours or that are strict, whatever names people have."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.turn_files import FILES, to_csv, to_rttm, to_srt, to_vtt
from shared.dialects import speak
from shared.domain.audio import Segment
from shared.domain.turns import ExportedTurn, TurnExport
from tests.support.turn_readers import read_csv, read_rttm, read_srt, read_vtt

JOB = "8b0e0c4e-54b4-4f5b-9d5f-0123456789ab"
HOSTILE = [
    "=cmd|' /C calc'!A0",
    "+1",
    "-1",
    "@SUM(A1)",
    "＝1+1",
    " =1+1",
    'Ann;=HYPERLINK("http://e","x")',
    'Ann;"=1+1;',
    "Ann;;\t@SUM(A1)",
    "Ann; -1",
    "a;＝1",
    'a,b;"',
    "wink ;-)",
    '"; DROP',
    '"Ann',
    '"Ann" Lee',
    r"{\an8}Ann",
    r"Ann\NEve",
    "a,b",
    "a;b",
    "</v><script>alert(1)</script>",
    "<b>Ann</b>",
    "--> 00:00:00.000",
    "a --> b",
    "&lt;&amp;",
    "Ann\r\nSPEAKER x 1 0 1 <NA> <NA> Eve <NA> <NA>",
    "Ann\n\n2\n00:00:00,000 --> 00:00:01,000\nEve",
    "Ann\u2028Eve\u2029\x85\x0b\x0c\x1c",
    "Ann\x00\x1b[31m",
    "<NA>",
    ";; comment",
    "  ",
    "\n",
    "Ann\u00a0Lee",
    "Ann \u202egnp.exe",
    "名前 ２",
    "a" * 100,
]
#: Names of which a spreadsheet would make a formula -> what the CSV has.
DEFUSED = {
    "=cmd|' /C calc'!A0": "'=cmd|' /C calc'!A0",
    "+1": "'+1",
    "-1": "'-1",
    "@SUM(A1)": "'@SUM(A1)",
    "＝1+1": "'＝1+1",
    " =1+1": "'=1+1",
    'Ann;=HYPERLINK("http://e","x")': 'Ann;\'=HYPERLINK("http://e","x")',
    'Ann;"=1+1;': "Ann;'\"=1+1;",
    "Ann;;\t@SUM(A1)": "Ann;;' @SUM(A1)",
    "Ann; -1": "Ann;' -1",
    "a;＝1": "a;'＝1",
    "--> 00:00:00.000": "'--> 00:00:00.000",
    "wink ;-)": "wink ;'-)",
}
EDGES_MS = st.lists(st.integers(0, 360_000_000), min_size=2, max_size=12, unique=True).map(sorted)


def export_of(edges_ms, names, texts=()):
    """Return turns between neighbouring edges, one of each name, and words if there are some."""
    pairs = list(zip(edges_ms[::2], edges_ms[1::2], strict=False))
    turns = [
        ExportedTurn(segment=Segment(start / 1000, end / 1000), speaker=f"SPEAKER_{i:02d}", name=names[i % len(names)])
        for i, (start, end) in enumerate(pairs)
    ]
    words = [
        ExportedTurn(segment=one.segment, speaker=one.speaker, name=one.name, text=texts[i % len(texts)])
        for i, one in enumerate(turns if texts else ())
    ]
    return TurnExport(turns=turns, transcription=words)


def times(turns):
    return [(round(one.segment.start_s * 1000), round(one.segment.end_s * 1000)) for one in turns]


def times_read(found):
    return [(round(start * 1000), round(end * 1000)) for start, end, *_ in found]


def check(export):
    """Read every format back and compare the times; return the names and words of each."""
    rttm = read_rttm(to_rttm(export, JOB), JOB)
    assert times_read(rttm) == times(export.turns)
    read = {"srt": read_srt(to_srt(export, JOB)), "vtt": read_vtt(to_vtt(export, JOB))}
    read["csv"], labels = read_csv(to_csv(export, JOB))
    assert labels == [one.speaker for one in export.captions]
    for found in read.values():
        assert times_read(found) == times(export.captions)
    return {"rttm": rttm} | read


@given(EDGES_MS, st.lists(st.text(max_size=100) | st.sampled_from(HOSTILE), min_size=1), st.data())
def test_any_names_and_words_come_back_with_their_times(edges_ms, names, data):
    texts = data.draw(st.lists(st.text(max_size=60) | st.sampled_from(HOSTILE), max_size=4))
    check(export_of(edges_ms, names, texts))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_one_name_of_one_turn(name):
    export = export_of([520, 4180], [name])
    for form, found in check(export).items():
        ((_, _, read, _),) = found
        plain = " ".join("".join(c if c.isprintable() or c in " \u00a0" else " " for c in name).split())
        plain = plain or "SPEAKER_00"
        untagged = plain.translate(str.maketrans("<>{}\\", "‹›｛｝＼")).partition(": ")[0]
        field = "‹NA›" if plain == "<NA>" else plain.replace(" ", "_").replace('"', "'")
        wanted = {"rttm": field, "csv": DEFUSED.get(name, plain), "srt": untagged}
        assert (form, read) == (form, wanted.get(form, plain))


@given(st.lists(st.text(max_size=20) | st.text('";=+-@＝ ,\t\r\na', max_size=8) | st.sampled_from(HOSTILE), min_size=1))
def test_no_cell_is_a_formula_whatever_separates_them(names):
    text = to_csv(export_of([*range(0, 2000 * len(names), 1000)], names, names[::-1]), JOB)
    for separator in ",;\t":
        cells = [cell.strip() for row in csv.reader(io.StringIO(text), delimiter=separator) for cell in row]
        assert not [cell for cell in cells if cell.startswith(tuple("=+-@＝＋－＠"))]


@pytest.mark.nemo
def test_rttm_is_read_by_those_who_evaluate_diarization(tmp_path):
    from pyannote.database.util import load_rttm

    export = export_of([0, 1500, 1500, 1600, 7_199_000, 7_200_000], ["Ann Lee", "Bob", "Ann Lee"])
    path = tmp_path / "found.rttm"
    path.write_text(to_rttm(export, JOB))
    (annotation,) = load_rttm(path).values()
    assert annotation.uri == JOB
    found = [(segment.start, segment.end, name) for segment, _, name in annotation.itertracks(yield_label=True)]
    assert found == [
        (0.0, pytest.approx(1.5), "Ann_Lee"),
        (1.5, pytest.approx(1.6), "Bob"),
        (7199.0, pytest.approx(7200.0), "Ann_Lee"),
    ]


@pytest.mark.nemo
@pytest.mark.parametrize("name", ['"Ann', 'Ann "Lee', "<NA>", "'", "#1"])
def test_no_name_hides_a_turn_from_those_who_evaluate_diarization(name, tmp_path):
    from pyannote.database.util import load_rttm

    path = tmp_path / "found.rttm"
    path.write_text(to_rttm(export_of(range(0, 6000, 1000), [name, "Bob"]), JOB))
    (annotation,) = load_rttm(path).values()
    labels = [label for _, _, label in annotation.itertracks(yield_label=True)]
    assert labels[1] == "Bob"
    assert labels[0] == labels[2] != "Bob"
    assert isinstance(labels[0], str)


def test_subtitles_hold_the_words_with_their_speaker_or_else_the_name():
    export = export_of([520, 4180], ["Ann"], ["Good <morning> & hello."])
    assert to_srt(export, JOB) == "1\n00:00:00,520 --> 00:00:04,180\nAnn: Good ‹morning› & hello.\n\n"
    assert to_vtt(export, JOB).endswith("<v Ann>Good &lt;morning&gt; &amp; hello.</v>\n")
    unspoken = export_of([520, 4180], ["Ann"])
    assert to_srt(unspoken, JOB) == "1\n00:00:00,520 --> 00:00:04,180\nAnn\n\n"
    assert to_vtt(unspoken, JOB).endswith("\n<v Ann>Ann</v>\n")


def test_whoever_is_not_heard_leaves_files_that_are_empty_but_valid():
    check(TurnExport(turns=[]))


def test_the_examples_are_what_is_rendered():
    export = export_of([520, 4180], ["Ann"], ["Good morning."])
    assert {form: one.render(export, JOB) for form, one in FILES.items()} == {
        form: one.example for form, one in FILES.items()
    }


DIALECTS = speak("hex")
OUTPUT = (
    '{"diarization": [{"speaker": "SPEAKER_00", "start": 0.5, "end": 2.0, "confidence": {"SPEAKER_00": 90}},'
    ' {"speaker": "SPEAKER_01", "start": 2.0, "end": 3.0}],'
    ' "turnLevelTranscription": [{"speaker": "SPEAKER_00", "start": 0.5, "end": 2.0, "text": "Hello."}],'
    ' "identification": [{"speaker": "Ada", "diarizationSpeaker": "SPEAKER_00", "match": "Ada"},'
    ' {"speaker": "SPEAKER_01", "diarizationSpeaker": "SPEAKER_01", "match": null}]}'
)


def test_turns_of_an_output_have_the_names_that_were_matched_unless_others_are_given():
    export = DIALECTS["pyannoteai"].turns(OUTPUT)
    assert [(one.speaker, one.name) for one in export.turns] == [("SPEAKER_00", "Ada"), ("SPEAKER_01", "SPEAKER_01")]
    assert [(one.name, one.text) for one in export.transcription] == [("Ada", "Hello.")]
    renamed = export.renamed({"SPEAKER_00": "Ann", "SPEAKER_01": "Bob"})
    assert [one.name for one in [*renamed.turns, *renamed.transcription]] == ["Ann", "Bob", "Ann"]
    assert renamed.speakers == ["SPEAKER_00", "SPEAKER_01"]


def test_an_output_without_turns_has_none():
    assert DIALECTS["pyannoteai"].turns('{"score": 0.5, "decision": "accept"}') is None
    assert DIALECTS["enroll"].turns('{"model": "ge2e@1", "seconds": 5.0, "speech": "", "vector": []}') is None
