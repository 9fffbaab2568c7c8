"""`make tune`: thresholds of diarization, tuned on conversations with RTTM files and kept for one model's weights."""

import csv
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models import registry, tuned
from models.registry import Record, installed_card
from shared.domain.errors import ModelInstallError, TuningError
from shared.domain.models import ModelCard
from shared.settings import Settings
from tests.support.manifests import talk
from tests.support.speech import read_clips
from worker import tuning

TUNED = tuned.Tuned(
    model="ge2e@1", data="meetings.csv", tuned_at="2026-11-01T00:00:00+00:00", der_before=14.6, der_after=11.2,
    thresholds={"merge_cosine": 0.7, "min_speaker_s": 1.5},
)  # fmt: skip
INSTALLED = Record(
    sha256="ab" * 32, files={}, nemo_version="3.0.0", parity=1e-9, installed_at="2026-11-01T00:00:00+00:00"
)  # fmt: skip


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Manifest of six conversations, each of two of three people in an order of its own, and one that is skipped."""
    clips = read_clips()
    rng = np.random.default_rng(1)
    speakers = sorted({clip.speaker for clip in clips})
    with (tmp_path / "meetings.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([("file", "kind"), ("nowhere.flac", "single")])
        for i in range(6):
            there = [clip for clip in clips if clip.speaker != speakers[i % 3]]
            talk(tmp_path / f"{i}", [there[k] for k in rng.permutation(len(there))] + there[:1])
            rows.writerow((f"{i}.flac", "conversation"))
    return tmp_path / "meetings.csv"


def run(manifest: Path, weights_dir: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "worker.tuning", str(manifest), "--model", "ge2e", "--weights-dir"]
    return subprocess.run([*command, str(weights_dir)], capture_output=True, text=True, timeout=600, check=False)


def test_the_command_keeps_nothing_where_the_thresholds_are_good_already(manifest: Path, tmp_path: Path) -> None:
    done = run(manifest, tmp_path / "weights")
    assert done.returncode == 0, done.stderr
    assert "6 of 6: 5.flac" in done.stderr
    assert re.search(r"^all +\d+ s +\d+\.\d % +\d+\.\d %$", done.stdout, re.MULTILINE)
    assert "Nothing was kept" in done.stdout
    assert not (tmp_path / "weights" / "ge2e").exists()


def test_better_thresholds_are_kept_and_count_from_then_on(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # As a model whose voices are all nearer to each other than another's: everybody is merged.
    text = re.sub(
        r"(\[ge2e\.clustering\].*?merge_cosine = )[0-9.]+", r"\g<1>0.2", registry.MANIFEST.read_text(), flags=re.DOTALL
    )
    monkeypatch.setattr(registry, "MANIFEST", tmp_path / "manifest.toml")
    registry.MANIFEST.write_text(text)
    weights = tmp_path / "weights"
    assert tuning.main([str(manifest), "--model", "ge2e", "--weights-dir", str(weights)]) == 0
    assert "Kept in" in capsys.readouterr().out
    kept = json.loads((weights / "ge2e" / "clustering.json").read_text())
    assert (kept["model"], kept["data"][:24]) == ("ge2e@1", "meetings.csv: 6 conversa")
    assert kept["der_after"] < kept["der_before"] - 10
    assert kept["thresholds"]["merge_cosine"] > 0.2
    assert installed_card("ge2e", weights).clustering.merge_cosine == kept["thresholds"]["merge_cosine"]
    # Tuned again, they are compared with the manifest's: their own data would flatter them.
    assert registry.untuned(installed_card("ge2e", weights)).merge_cosine == 0.2


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("meetings.csv", "path,kind\n0.flac,x\n", "has no column `file`"),
        ("meetings.csv", "file\n0.flac\n", "names 1 conversations; at least 6 are needed"),
        ("meetings.csv", "file\n0.flac\nnowhere.flac\n", "nowhere.flac, which is no file"),
        ("meetings.csv", "file\n\xff", "cannot be read as CSV"),
        ("3.rttm", "", "3.rttm has no line that begins with SPEAKER"),
        ("3.rttm", "SPEAKER 3 1 0.5 soon <NA> <NA> ann <NA> <NA>\n", "3.rttm, line 1: not `SPEAKER"),
        ("3.rttm", ";; who\nSPEAKER 3 1 0.5 -1 <NA> <NA> ann\n", "3.rttm, line 2: not `SPEAKER"),
        ("3.rttm", "SPEAKER 3 1 nan 1 <NA> <NA> ann\n", "3.rttm, line 1"),
        ("3.rttm", "SPEAKER 3 1 0.5 1\n", "3.rttm, line 1"),
        ("0.rttm", "SPEAKER 0 1 4000 1 <NA> <NA> ann\n", "before the last of its RTTM's turns"),
        ("0.flac", "<html>", "0.flac cannot be heard: The file is a web page"),
    ],
)
def test_a_wrong_manifest_recording_or_rttm_file_is_named(
    manifest: Path, name: str, content: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (manifest.parent / name).write_bytes(content.encode("latin-1"))
    assert tuning.main([str(manifest), "--model", "ge2e", "--weights-dir", str(manifest.parent)]) == 1
    printed = capsys.readouterr()
    assert printed.err.splitlines()[-1].startswith("Nothing was tuned.")
    assert said in printed.err


def test_an_rttm_file_may_begin_with_a_byte_order_mark_and_have_tabs(tmp_path: Path) -> None:
    lines = ["SPEAKER m 1 0.5 2.0 <NA> <NA> ann", "SPEAKER\tm\t1\t3.5\t2.0\t<NA>\t<NA>\tbob"]
    (tmp_path / "m.rttm").write_text("\r\n".join(lines), encoding="utf-8-sig")
    assert [turn.speaker for turn in tuning.read_rttm(tmp_path / "m.rttm")] == ["ann", "bob"]


def test_a_recording_without_its_rttm_file_is_named(manifest: Path) -> None:
    manifest.with_name("4.rttm").unlink()
    with pytest.raises(TuningError, match=r"4\.rttm is missing"):
        tuning.tune(manifest, Settings(), print)


def test_tuned_thresholds_count_for_the_weights_they_were_tuned_with_only(tmp_path: Path) -> None:
    (tmp_path / "titanet_large").mkdir()
    INSTALLED.write(tmp_path / "titanet_large")
    untuned = installed_card("titanet_large", tmp_path)
    keep(replace(TUNED, model="titanet_large@1.00000000"), untuned, tmp_path)
    assert installed_card("titanet_large", tmp_path) == untuned
    keep(replace(TUNED, model="titanet_large@1.abababab"), untuned, tmp_path)
    expected = replace(untuned.clustering, merge_cosine=0.7, min_speaker_s=1.5)
    assert installed_card("titanet_large", tmp_path).clustering == expected
    assert registry.untuned(installed_card("titanet_large", tmp_path)) == untuned.clustering


def test_the_bundled_model_may_be_tuned_too(tmp_path: Path) -> None:
    keep(TUNED, installed_card("ge2e", tmp_path), tmp_path)
    assert [card.clustering.merge_cosine for card in registry.installed(tmp_path)] == [0.7]


@pytest.mark.parametrize(
    "damage",
    [
        "{",
        "[]",
        json.dumps({"model": "ge2e@1"}),
        *(
            json.dumps({**vars(TUNED), "thresholds": wrong})
            for wrong in (None, {"merge": 0.5}, {"hop_s": "0.2"}, {"hop_s": float("nan")}, {"windows_s": [1.5]})
        ),
    ],
)
def test_a_damaged_file_is_a_clear_error(damage: str, tmp_path: Path) -> None:
    keep(TUNED, installed_card("ge2e", tmp_path), tmp_path)
    (tmp_path / "ge2e" / "clustering.json").write_text(damage)
    with pytest.raises(ModelInstallError, match=r"clustering.json are damaged: delete the file, and run `make tune`"):
        installed_card("ge2e", tmp_path)


def keep(thresholds: tuned.Tuned, card: ModelCard, weights_dir: Path) -> None:
    tuned.write(thresholds, tuned.tuned_file(card, weights_dir))
