"""Enrolling: pool the samples of an enrolment, with a word on those that are unlike the others."""

from collections.abc import Collection, Sequence

from shared.domain.calibration import Calibration
from shared.domain.errors import SampleRefused
from shared.domain.identities import Part, Pooled
from shared.domain.pooling import REFUSED_BELOW, Outlier, outliers, pool


def pool_parts(
    parts: Sequence[Part], calibration: Calibration | None, *, judged: Collection[str] | None = None
) -> Pooled:
    """Return the voiceprint of samples, with a warning that names those unlike the others.

    Parameters
    ----------
    judged : ids of the samples that may be refused; None: all of them.

    Raises
    ------
    SampleRefused
        Such a sample is below the limit; its `samples` are all of them.
    InvalidVoiceprint
        The samples were heard by different models.
    """
    voiceprints = [part.heard.voiceprint for part in parts]
    unlike = outliers(voiceprints, calibration)
    refused = [one for one in unlike if one.refused and (judged is None or parts[one.index].sample.id in judged)]
    if refused:
        error = SampleRefused(
            f"{_named(parts, refused)}; at least {REFUSED_BELOW} % are needed. Leave it out, or send another recording "
            "of that person."
        )
        error.samples = [parts[one.index].sample.id for one in refused]
        raise error
    return Pooled(voiceprint=pool(voiceprints), warning=f"{_named(parts, unlike)}." if unlike else None)


def _named(parts: Sequence[Part], unlike: Sequence[Outlier]) -> str:
    told = [f"sample {parts[one.index].sample.handle} ({one.confidence} %)" for one in unlike]
    return f"Unlike the other samples, by the confidence that it is the same voice: {', '.join(told)}"
