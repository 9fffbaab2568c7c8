"""Descriptors of ONNX files: a small TOML file beside a network says what it hears, and its licence.

An ONNX file names its inputs and their shapes, but neither the features that it was trained on nor their scale.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validate, validates_schema

from models.onnx_embedder import FBANK, MELS_TIME, NEMO_MEL, TIME_MELS, WAVEFORM
from shared.domain.audio import SAMPLE_RATE_HZ
from shared.domain.errors import ModelInstallError

#: Keys that only features have, and those that only fbank has.
_OF_FEATURES = ("mels", "layout", "mean")
_OF_FBANK = ("window",)


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    """Facts about an ONNX file; what is None is found in the graph."""

    sample_rate: int
    licence: str
    #: `waveform`, `fbank` or `nemo_mel`.
    features: str
    #: Least net speech for a voiceprint, in seconds.
    min_speech: float = 1.0
    #: Place that the weights come from.
    source: str | None = None
    #: Length of an embedding.
    dimension: int | None = None
    #: Names of the input of features, of that of their length where there is one, and of the embeddings.
    input: str | None = None
    length: str | None = None
    output: str | None = None
    #: Order of the axes behind the batch: `time,mels` or `mels,time`.
    layout: str | None = None
    mels: int = 80
    #: Window of fbank, `hamming` or `povey`.
    window: str | None = None
    #: Factor of samples between -1 and 1; 32768 for networks that were trained on 16-bit numbers.
    scale: float = 1.0
    #: What is subtracted from each band: `time`, its mean over the segment, or `none`.
    mean: str = "time"


class _DescriptorSchema(Schema):
    sample_rate = fields.Integer(required=True, strict=True, validate=validate.OneOf([SAMPLE_RATE_HZ]))
    licence = fields.String(required=True, validate=validate.Length(min=1, max=200))
    features = fields.String(required=True, validate=validate.OneOf([WAVEFORM, FBANK, NEMO_MEL]))
    min_speech = fields.Float(validate=validate.Range(0.1, 60.0))
    source = fields.String(validate=validate.Length(min=1, max=500))
    dimension = fields.Integer(strict=True, validate=validate.Range(1, 65_535))
    input = fields.String(validate=validate.Length(min=1))
    length = fields.String(validate=validate.Length(min=1))
    output = fields.String(validate=validate.Length(min=1))
    layout = fields.String(validate=validate.OneOf([TIME_MELS, MELS_TIME]))
    mels = fields.Integer(strict=True, validate=validate.Range(16, 128))
    window = fields.String(validate=validate.OneOf(["hamming", "povey"]))
    scale = fields.Float(validate=validate.OneOf([1.0, 32768.0]))
    mean = fields.String(validate=validate.OneOf(["time", "none"]))

    @validates_schema
    def check_features(self, data: Mapping[str, Any], **_: Any) -> None:
        """Refuse keys that the features do not have, and fbank without a window."""
        kind = data["features"]
        strange = [*(_OF_FEATURES if kind == WAVEFORM else ()), *(() if kind == FBANK else _OF_FBANK)]
        for name in strange:
            if name in data:
                raise ValidationError(f"The features {kind!r} have none.", name)
        if kind == FBANK and "window" not in data:
            raise ValidationError("Missing: it is hamming (WeSpeaker) or povey (3D-Speaker).", "window")

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Descriptor:
        """Return the descriptor."""
        return Descriptor(**data)


def read_descriptor(path: Path) -> Descriptor:
    """Read a descriptor; raises ModelInstallError, which names what is wrong, if it is missing or malformed."""
    try:
        return _DescriptorSchema().load(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ModelInstallError(
            f"There is no descriptor {path}: write one, models/README.md shows three, or name it with DESCRIPTOR=."
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelInstallError(f"The descriptor {path} cannot be read: {error}.") from error
    except ValidationError as error:
        # Of a flat schema the messages are lists by field.
        faults = "; ".join(f"{name}: {' '.join(texts)}" for name, texts in dict(error.messages_dict).items())
        raise ModelInstallError(f"The descriptor {path} is wrong: {faults}") from error
