"""Recordings and their annotations, written for `make eval` and `make calibrate`."""

from pathlib import Path

import numpy as np
import soundfile

from tests.support.speech import Clip

COLUMNS = ("file", "speaker", "dataset", "kind", "note")


def talk(path: Path, clips: list[Clip]) -> None:
    """Write `clips` one after the other as PATH.flac, and their turns as PATH.rttm."""
    soundfile.write(path.with_suffix(".flac"), np.concatenate([clip.samples for clip in clips]), 16_000)
    ends = np.cumsum([len(clip.samples) / 16_000 for clip in clips])
    turns = zip(clips, np.concatenate([[0.0], ends]), ends, strict=False)
    path.with_suffix(".rttm").write_text(
        "".join(
            f"SPEAKER talk 1 {start} {end - start} <NA> <NA> {clip.speaker} <NA> <NA>\n" for clip, start, end in turns
        )
    )
