"""The program that counts found copies, on a few recordings."""

from click.testing import CliRunner

from tests.eval.copies import main
from tests.support.copies import COPIES
from tests.support.sounds import DATA


def test_copies_are_counted_and_no_other_recording_is_found() -> None:
    result = CliRunner().invoke(main, ["--manifest", str(DATA / "manifest.csv"), "--copied", "1"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    counts = {kind: line for kind in COPIES for line in lines if line.startswith(f"{kind} ")}
    assert counts.keys() == COPIES.keys()
    assert counts["mp3 32k"].split()[2:5] == ["1", "100.0", "0"]
    assert "pairs of different recordings, single: 30, 6 of one voice; found: 0" in lines
    assert any(line.startswith("1000 known recordings of 30 s: ") for line in lines)
