"""Plots of error rates and scores as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from tests.eval.metrics import error_rates
from tests.eval.verification import Scored

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TICKS = np.array([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4])


def det_curves(all_scored: list[Scored], path: Path) -> None:
    """Draw false rejects over false accepts on normal deviates (Martin et al., 1997)."""
    figure = _figure(7, 7)
    axes = figure.subplots()
    for scored in all_scored:
        frr, far = error_rates(scored.scores, scored.same)
        shown = (frr > 0) & (far > 0) & (frr < 1) & (far < 1)
        axes.plot(ndtri(far[shown]), ndtri(frr[shown]), label=scored.name)
    axes.set_xticks(ndtri(_TICKS), [f"{100 * t:g}" for t in _TICKS])
    axes.set_yticks(ndtri(_TICKS), [f"{100 * t:g}" for t in _TICKS])
    axes.set(xlabel="false accepts, %", ylabel="false rejects, %", title="Detection error trade-off")
    axes.set(xlim=ndtri(_TICKS[[0, -1]]), ylim=ndtri(_TICKS[[0, -1]]))
    axes.legend(fontsize="x-small")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def histograms(all_scored: list[Scored], path: Path) -> None:
    """Draw the distributions of the cosines of targets and of non-targets."""
    figure = _figure(8, 2 * len(all_scored))
    bins = np.linspace(-0.2, 1.0, 61)
    for axes, scored in zip(np.atleast_1d(figure.subplots(len(all_scored), sharex=True)), all_scored, strict=True):
        for same, name in ((True, "same speaker"), (False, "two speakers")):
            axes.hist(scored.scores[scored.same == same], bins, density=True, alpha=0.6, label=name)
        axes.set_title(scored.name, fontsize="small")
    axes.set_xlabel("cosine")
    axes.legend(fontsize="x-small")
    figure.savefig(path, dpi=120)


def _figure(width: float, height: float) -> Figure:
    # Only the full set of packages brings matplotlib, and the rest of the evaluation does without it.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
