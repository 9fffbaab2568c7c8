"""NeMo's own pipeline: its ClusteringDiarizer, then the embedding of the dominant speaker's speech."""

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch
from nemo.collections.asr.models import ClusteringDiarizer, EncDecSpeakerLabelModel
from nemo.utils import logging as nemo_logging
from omegaconf import OmegaConf

from shared.domain.audio import Segment, Waveform

#: Windows and their shifts, in seconds, of NeMo's published `diar_infer_general.yaml` and `diar_infer_telephonic.yaml`.
SCALES = {
    "general": ([1.9, 1.2, 0.5], [0.95, 0.6, 0.25]),
    "telephonic": ([1.5, 1.25, 1.0, 0.75, 0.5], [0.75, 0.625, 0.5, 0.375, 0.25]),
}


class NemoPipeline:
    """NeMo with the values of one of its published configurations.

    It gets the segments of our voice activity detection, because MarbleNet's weights are not available. So the time of
    its own detection is left out.
    """

    def __init__(self, nemo_file: Path, folder: Path) -> None:
        nemo_logging.setLevel(nemo_logging.ERROR)
        self._file = nemo_file
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._model = EncDecSpeakerLabelModel.restore_from(nemo_file, map_location="cpu").eval()

    def prepare(self, waveform: Waveform, speech: list[Segment], scales: str) -> ClusteringDiarizer:
        """Write the diarizer's input files and load it; `scales` is a key of SCALES."""
        sound, rttm, manifest = (self._folder / f"sound.{suffix}" for suffix in ("wav", "rttm", "json"))
        soundfile.write(sound, waveform.samples, waveform.sample_rate_hz)
        rttm.write_text(
            "".join(f"SPEAKER sound 1 {s.start_s:.3f} {s.duration_s:.3f} <NA> <NA> speech <NA> <NA>\n" for s in speech)
        )
        line = {"audio_filepath": str(sound), "offset": 0, "duration": None, "label": "infer", "text": "-",
                "num_speakers": None, "rttm_filepath": str(rttm), "uem_filepath": None}  # fmt: skip
        manifest.write_text(json.dumps(line) + "\n")
        return ClusteringDiarizer(cfg=OmegaConf.create(self._config(manifest, *SCALES[scales])))

    def pipeline(self, waveform: Waveform, speech: list[Segment], scales: str) -> Callable[[], np.ndarray]:
        """Return a function from speech to the dominant speaker's embedding, with everything loaded."""
        diarizer = self.prepare(waveform, speech, scales)
        return lambda: self.run(diarizer, waveform)

    def run(self, diarizer: ClusteringDiarizer, waveform: Waveform) -> np.ndarray:
        """Diarize, then embed the speech of the dominant speaker."""
        diarizer.diarize()
        turns = [line.split() for line in (self._folder / "pred_rttms" / "sound.rttm").read_text().splitlines()]
        seconds: dict[str, float] = defaultdict(float)
        for turn in turns:
            seconds[turn[7]] += float(turn[4])
        dominant = max(seconds, key=seconds.__getitem__)
        own = [Segment(float(t[3]), float(t[3]) + float(t[4])) for t in turns if t[7] == dominant]
        return self.forward(waveform.join(own))

    def forward(self, samples: np.ndarray) -> np.ndarray:
        """Return NeMo's own embedding of samples."""
        with torch.inference_mode():
            signal = torch.from_numpy(samples)[None]
            return self._model.forward(input_signal=signal, input_signal_length=torch.tensor([len(samples)]))[1].numpy()

    def _config(self, manifest: Path, windows_s: list[float], shifts_s: list[float]) -> dict:
        return {
            "name": "bench", "num_workers": 0, "sample_rate": 16_000, "batch_size": 64, "device": "cpu",
            "verbose": False,
            "diarizer": {
                "manifest_filepath": str(manifest), "out_dir": str(self._folder), "oracle_vad": True, "collar": 0.25,
                "ignore_overlap": True,
                "vad": {"model_path": None, "external_vad_manifest": None, "parameters": {}},
                "speaker_embeddings": {
                    "model_path": str(self._file),
                    "parameters": {
                        "window_length_in_sec": windows_s, "shift_length_in_sec": shifts_s,
                        "multiscale_weights": [1] * len(windows_s), "save_embeddings": False,
                    },
                },
                "clustering": {
                    "parameters": {
                        "oracle_num_speakers": False, "max_num_speakers": 8, "enhanced_count_thres": 80,
                        "max_rp_threshold": 0.25, "sparse_search_volume": 10, "maj_vote_spk_count": False,
                    },
                },
            },
        }  # fmt: skip
