"""Builds a segmentation network of pyannote's architecture with random weights, and exports it by torch."""

from pathlib import Path

import torch
from torch import Tensor, nn

RATE_HZ = 16_000


class PyanNet(nn.Module):
    """Filters, bidirectional LSTM and log probabilities of sets of speakers, in the sizes of segmentation-3.0."""

    def __init__(self, hidden: int, layers: int) -> None:
        super().__init__()
        widths = (80, 60, 60)
        self.level = nn.InstanceNorm1d(1, affine=True)
        self.filters = nn.ModuleList([nn.Conv1d(1, 80, 251, stride=10), nn.Conv1d(80, 60, 5), nn.Conv1d(60, 60, 5)])
        self.norms = nn.ModuleList([nn.InstanceNorm1d(width, affine=True) for width in widths])
        self.lstm = nn.LSTM(60, hidden, num_layers=layers, bidirectional=True, batch_first=True)
        self.classes = nn.Linear(2 * hidden, 7)

    def forward(self, sound: Tensor) -> Tensor:
        """Return log probabilities, (batch, frames, 7), of sound (batch, 1, samples)."""
        heard = self.level(sound)
        for convolve, norm in zip(self.filters, self.norms, strict=True):
            heard = nn.functional.leaky_relu(norm(nn.functional.max_pool1d(convolve(heard).abs(), 3)))
        states, _ = self.lstm(heard.transpose(1, 2))
        return torch.log_softmax(self.classes(states), dim=-1)


def export_pyannet(path: Path, hidden: int = 16, layers: int = 1) -> None:
    """Write the network as people export pyannote's: windows of 10 s, or of any length."""
    torch.manual_seed(0)
    torch.onnx.export(
        PyanNet(hidden, layers).eval(), (torch.zeros(1, 1, 10 * RATE_HZ),), str(path), opset_version=15,
        input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "N", 2: "T"}, "y": {0: "N", 1: "T"}},
        dynamo=False,
    )  # fmt: skip
