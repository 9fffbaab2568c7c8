"""Examples of request and response bodies, made from their JSON schemas."""

from collections.abc import Iterator, Mapping
from typing import Any

from shared.domain.errors import Canceled, NoSpeech, TimbreError

Json = dict[str, Any]

#: UUID of every example job and request.
EXAMPLE_ID = "8b0e0c4e-54b4-4f5b-9d5f-0123456789ab"

_TURNS = [
    {"start": 0.52, "end": 4.18, "speaker": "SPEAKER_00"},
    {"start": 4.6, "end": 6.04, "speaker": "SPEAKER_01"},
]
#: Values of fields that several schemas share, by field name; the first that a schema allows is taken.
#: A field's own `examples` come before these.
_SHARED: Mapping[str, tuple[Any, ...]] = {
    "status": ("succeeded", 200),
    "createdAt": ("2026-05-04T09:30:00.000Z",),
    "updatedAt": ("2026-05-04T09:30:06.250Z",),
    "step": ("diarize",),
    "progress": (40,),
    "url": ("media://voice.wav",),
    "key": ("voice.wav",),
    "token": ("SIGNED_TOKEN",),
    "identity": ("ada",),
    "sample": ("first-call",),
    "enrolment": ("main",),
    "verification": (EXAMPLE_ID,),
    "space": ("default",),
    "reference": ("contract 17",),
    "text": ("Recognise me by my voice when I call.",),
    "consentBasis": ("contract with each customer",),
    "keepRecordingsSeconds": (2_592_000,),
    "keyId": ("3f1c0a9e72b4",),
    "requestId": (EXAMPLE_ID,),
    "field": ("url",),
    "message": ("Missing data for required field.",),
    # Shortened: a whole one has more than a thousand characters.
    "voiceprint": ("VE1CUgEGZ2UyZUAxAAE...",),
    "model": ("ge2e@1",),
    "handle": ("ge2e",),
    "version": ("1",),
    "dimension": (256,),
    "sampleRate": (16000,),
    "minSpeechSeconds": (1.6,),
    "licence": ("Apache-2.0",),
    "data": ("LibriSpeech train-clean-100 (CC BY 4.0), 86 speakers",),
    "fittedAt": ("2026-05-04T09:30:00+00:00",),
    "audioSeconds": (6.4,),
    "speechSeconds": (5.1,),
    "netSpeechSeconds": (3.66,),
    "dominantSpeaker": ("SPEAKER_00",),
    "speaker": ("SPEAKER_00",),
    "diarizationSpeaker": ("SPEAKER_00",),
    "match": ("Ada",),
    "start": (0.52,),
    "end": (4.18,),
    "segments": ([{"start": 0.52, "end": 4.18}],),
    "speakers": ([{"speaker": "SPEAKER_00", "seconds": 3.66}, {"speaker": "SPEAKER_01", "seconds": 1.44}],),
    "diarization": (_TURNS,),
    "identification": ([{**_TURNS[0], "speaker": "Ada", "diarizationSpeaker": "SPEAKER_00", "match": "Ada"}],),
    "seconds": (3.66,),
    "snrDb": (27.4,),
    "speakerCount": (2,),
    "dominantShare": (0.718,),
    "consistency": (0.91,),
    "confidence": (97, {"Ada": 97}),
    "score": (0.7413, {"Ada": 0.7413}, [97, 97, 96]),
    "resolution": (0.02,),
    "leastConfidence": (50,),
    "timings": ({"download": 0.2104, "decode": 0.0312, "vad": 0.0958, "encode": 0.1873, "diarize": 0.0421},),
    "bytes": (204844,),
    "sha256": ("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",),
    "removed": ({"output": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},),
    "nextCursor": (f"1777887000000-{EXAMPLE_ID}",),
    "secret": ("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",),
    "attempt": (1,),
    "reason": ("http_error",),
    "durationMs": (118,),
    "answer": ("ok",),
}
_FORMATS = {"uuid": EXAMPLE_ID, "date-time": "2026-05-04T09:30:06.250Z"}
#: Values where a schema tells no more than the type.
_TYPES: Mapping[str, Any] = {"boolean": True, "integer": 1, "number": 1.0, "string": "string", "null": None}
_PYTHON_TYPES: Mapping[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "array": (list,),
    "object": (dict,),
}
#: Statuses without a result, each with an error that a job ends with.
_ENDS: Mapping[str, type[TimbreError]] = {"failed": NoSpeech, "canceled": Canceled}


def media_examples(schema: Json, schemas: Json) -> dict[str, Json]:
    """Return the `examples` of an OpenAPI media type.

    A body with an `output` of several schemas gets an example of each, by the schema's name, and one of each status
    without a result. Any other body gets one example.

    Parameters
    ----------
    schemas : the components that references in `schema` lead to, by name.
    """
    outputs = resolve(schema, schemas).get("properties", {}).get("output", {}).get("oneOf")
    values = dict(_job_examples(schema, outputs, schemas)) if outputs else {"example": example(schema, schemas)}
    return {name: {"value": value} for name, value in values.items()}


def _job_examples(schema: Json, outputs: list[Json], schemas: Json) -> Iterator[tuple[str, Json]]:
    job = example(schema, schemas)
    if "step" in resolve(schema, schemas)["properties"]:
        yield "running", job | {"status": "running", "step": "diarize"}
    for output in outputs:
        if "code" not in resolve(output, schemas)["properties"]:
            yield schema_name(output), job | {"output": example(output, schemas)}
    for status, error in _ENDS.items():
        yield status, job | {"status": status, "output": {"error": meaning(error), "code": error.code}}


def example(schema: Json, schemas: Json, name: str = "") -> Any:
    """Return an example of `schema`, the value of a field called `name`.

    An object holds the fields that are required and those with `examples` of their own.
    """
    schema = resolve(schema, schemas)
    if "examples" in schema:
        return schema["examples"][0]
    for value in _SHARED.get(name, ()):
        if _allows(schema, value):
            return value
    if "enum" in schema:
        return schema["enum"][0]
    return _from_type(schema, schemas, name)


def _from_type(schema: Json, schemas: Json, name: str) -> Any:
    if "anyOf" in schema:
        # Null is the other of two.
        return example(schema["anyOf"][0], schemas, name)
    kind = _types(schema)[0]
    if kind == "object":
        required = schema.get("required", ())
        shown = {n: p for n, p in schema.get("properties", {}).items() if n in required or "examples" in p}
        return {inner: example(field, schemas, inner) for inner, field in shown.items()}
    if kind == "array":
        return [example(schema["items"], schemas, name)]
    return _FORMATS.get(schema.get("format", ""), _TYPES[kind])


def _allows(schema: Json, value: Any) -> bool:
    if "enum" in schema:
        return value in schema["enum"]
    # JSON's true and false are no numbers; in Python they are.
    kinds = [_PYTHON_TYPES[kind] for kind in _types(schema) if kind != "null"]
    return any(isinstance(value, kind) and (bool in kind or not isinstance(value, bool)) for kind in kinds)


def _types(schema: Json) -> list[str]:
    kinds = schema.get("type", "object")
    return [kinds] if isinstance(kinds, str) else kinds


def resolve(schema: Json, schemas: Json) -> Json:
    """Return the schema that a reference leads to, or `schema` itself."""
    found: Json = schemas[schema_name(schema)] if "$ref" in schema else schema
    return found


def schema_name(reference: Json) -> str:
    """Return the name of the component that a reference leads to."""
    name: str = reference["$ref"].rpartition("/")[2]
    return name


def meaning(error: type[TimbreError]) -> str:
    """Return the sentence that says what an error means."""
    return (error.__doc__ or "").partition("\n")[0]
