"""Completeness of the API's description: every route, field, header, error code and example, and no other."""

import base64
import hashlib
import html
import re
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from marshmallow import Schema
from openapi_spec_validator import validate

from api.app import create_app
from api.errors import STATUS, MethodNotAllowed
from api.schemas.base import Query, Request
from api.schemas.jobs import JobHeaders
from api.services import Services
from shared import __version__
from shared.domain.errors import InternalError, JobFailure, RequestError, concrete_errors
from shared.settings import Settings
from tests.support.described import Description
from tests.support.routes import routes

ROOT = Path(__file__).parent.parent.parent
SOURCE = "\n".join(path.read_text() for path in (ROOT / "api").glob("*.py"))
#: What the framework reads, or what the description has another place for.
ELSEWHERE = {"Authorization", "Transfer-Encoding", "Allow"}


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    yield from app_of(Settings(data_dir=tmp_path_factory.mktemp("data")))


def app_of(settings):
    services = Services.from_settings(settings)
    yield create_app(services)
    services.engine.dispose()


def examples_in(found, where="") -> Iterator[tuple[str, dict, object]]:
    """Yield place, schema and value of every example of a media type."""
    if isinstance(found, dict) and "examples" in found and "schema" in found:
        for name, one in found["examples"].items():
            yield f"{where} {name}", found["schema"], one["value"]
    for key, inner in found.items() if isinstance(found, dict) else ():
        yield from examples_in(inner, f"{where}/{key}")


def successes(description, operation):
    """Return status and response of each success of an operation."""
    return [(status, answer) for status, answer in description.answers(operation).items() if status < "3"]


def strings_in(value) -> Iterator[str]:
    """Yield every string in an example."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings_in(inner)


@pytest.fixture(scope="module")
def description(app):
    return Description(app.test_client().get("/openapi.json").json)


@pytest.fixture(scope="module")
def page(app):
    return app.test_client().get("/docs")


def test_it_is_openapi_3_1(description):
    validate(description.document)
    assert description.document["openapi"].startswith("3.1")


def test_one_version_is_told_by_the_package_the_description_and_the_probe(app, description):
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    module, _, name = pyproject["tool"]["setuptools"]["dynamic"]["version"]["attr"].rpartition(".")
    assert getattr(import_module(module), name) == __version__
    assert description.document["info"]["version"] == __version__
    assert app.test_client().get("/healthz").json == {"status": "ok", "version": __version__}


def test_it_describes_every_route_and_no_other(app, description):
    redirects = {("GET", "/"), ("GET", "/docs/")}
    assert {(operation.method, operation.path) for operation in description.operations()} == routes(app) - redirects


def test_every_operation_has_a_name_of_its_own_and_says_what_it_does(description):
    operations = list(description.operations())
    assert len({operation.body["operationId"] for operation in operations}) == len(operations)
    assert all(operation.body["summary"] for operation in operations)
    names = {name for operation in operations for name in re.findall(r"{(\w+)}", operation.path)}
    assert names == {one["name"] for operation in operations for one in operation.parameters("path")}


def test_what_needs_no_key_says_so(description):
    open_paths = {operation.path for operation in description.operations() if operation.body.get("security") == []}
    assert open_paths == {
        "/healthz", "/readyz", "/openapi.json", "/docs", "/v1/media/upload/{token}", "/v1/media/download/{token}",
    }  # fmt: skip
    for operation in description.operations():
        assert (operation.path in open_paths) == ("401" not in description.answers(operation))


def test_whatever_makes_a_job_can_be_repeated_safely_and_may_be_one_too_many(description):
    makers = [
        operation
        for operation in description.operations()
        if any("JobCreated" in str(answer) for _, answer in successes(description, operation))
    ]
    assert len(makers) > 5
    for operation in makers:
        assert [one["name"] for one in operation.parameters("header")] == ["Idempotency-Key"]
        assert "idempotency_mismatch" in description.codes(operation, "422")
        assert "too_many_jobs" in description.codes(operation, "429")


def test_every_error_of_the_tree_that_a_request_can_meet_is_described_with_its_status(description):
    described = {
        (int(status), code)
        for operation in description.operations()
        for status in description.answers(operation)
        for code in description.codes(operation, status)
    }
    # No operation has the wrong method; the introduction tells of it.
    wanted = {(status, error.code) for error, status in STATUS.items() if error is not MethodNotAllowed}
    assert described == wanted | {(500, InternalError.code)}
    assert MethodNotAllowed.code in description.document["info"]["description"]
    assert set(description.schema("Error")["properties"]["code"]["enum"]) == {code for _, code in described} | {
        MethodNotAllowed.code
    }


def test_every_error_of_the_tree_that_ends_a_job_is_described(description):
    codes = {error.code for error in concrete_errors(JobFailure)}
    assert set(description.schema("FailureOutput")["properties"]["code"]["enum"]) == codes


def schemas(base=Schema):
    for cls in base.__subclasses__():
        if cls.__module__.startswith(("api.schemas.", "shared.dialects.pyannoteai")) and cls not in (Request, Query):
            yield cls
        yield from schemas(cls)


@pytest.mark.parametrize("schema", sorted(set(schemas()), key=lambda cls: cls.__name__), ids=lambda cls: cls.__name__)
def test_every_field_of_every_schema_is_described(schema, description):
    family = [schema.__name__, *(cls.__name__ for cls in schemas(schema))]
    bodies = [set(description.schema(name)["properties"]) for name in family if name in str(description.document)]
    places = [operation.parameters(where) for operation in description.operations() for where in ("query", "header")]
    queries = [{one["name"] for one in place} for place in places]
    fields = set(schema().fields)
    assert any(fields <= described for described in bodies or queries)


def test_every_header_that_is_read_or_written_is_described(description):
    read = set(re.findall(r'request\.headers\.get\("([\w-]+)"', SOURCE)) - ELSEWHERE
    read |= {*JobHeaders().fields, "Range"}  # the latter through `request.range`
    assert read == {one["name"] for operation in description.operations() for one in operation.parameters("header")}
    written = set(re.findall(r'headers(?:\.setdefault\(|\[)"([\w-]+)"', SOURCE)) - ELSEWHERE
    assert written - read <= set(description.document["components"]["headers"])


def test_patterns_are_ecmascripts(description):
    patterns = re.findall(r"'pattern': '(.+?)'", str(description.document))
    assert patterns
    assert not [pattern for pattern in patterns if re.search(r"\\\\Z|\\\\A|\(\?[a-zP]", pattern) or pattern[0] != "^"]


def test_every_body_has_an_example(description):
    for operation in description.operations():
        responses = description.answers(operation).values()
        bodies = [operation.body.get("requestBody", {}), *responses]
        for media in (media for body in bodies for media in body.get("content", {}).values()):
            assert bool(media.get("examples")) == (media["schema"].get("format") != "binary"), operation.path


def test_every_example_is_valid(description):
    found = list(examples_in(description.document))
    assert found
    wrong = {where: errors for where, schema, value in found if (errors := description.errors(schema, value))}
    assert wrong == {}


def test_no_example_is_a_mere_placeholder(description):
    assert not [where for where, _, value in examples_in(description.document) if "string" in strings_in(value)]


def test_a_job_that_ended_has_an_example_of_every_output_and_of_every_end(description):
    schema = description.schema("JobState")["properties"]["output"]
    outputs = {one["$ref"].rpartition("/")[2] for one in schema["oneOf"]} - {"FailureOutput"}
    answer = description.answers(description.operation("GET", "/v1/jobs/{job_id}"))["200"]
    examples = answer["content"]["application/json"]["examples"]
    assert set(examples) == outputs | {"running", "failed", "canceled"}
    for name, one in examples.items():
        assert one["value"]["status"] == ("succeeded" if name in outputs else name)
        assert ("output" in one["value"]) == (name != "running")
    canceled = description.answers(description.operation("POST", "/v1/jobs/{job_id}/cancel"))["200"]
    assert list(canceled["content"]["application/json"]["examples"]) == ["canceled"]


def test_every_refusal_has_an_example_of_each_of_its_errors(description):
    for operation in description.operations():
        for status, answer in description.answers(operation).items():
            if codes := description.codes(operation, status):
                examples = answer["content"]["application/json"]["examples"]
                assert {name: one["value"]["code"] for name, one in examples.items()} == {c: c for c in codes}


def test_whatever_makes_a_job_links_to_it_and_names_its_output(description):
    outputs = set()
    answers = [answer for one in description.operations() for _, answer in successes(description, one)]
    for answer in answers:
        if "JobCreated" in str(answer):
            (link,) = answer["links"].values()
            job = next(one for one in description.operations() if one.body["operationId"] == link["operationId"])
            assert set(link["parameters"]) == {one["name"] for one in job.parameters("path")}
            assert set(link["parameters"].values()) == {"$response.body#/jobId"}
            outputs |= set(re.findall(r"`(\w+Output)`", link["description"]))
    # No operation of this API enrols a voice by several recordings: other vendors' forms do.
    others = {"FailureOutput", "VoiceEnrolmentOutput"}
    schemas = description.document["components"]["schemas"]
    assert outputs == {name for name in schemas if name.endswith("Output")} - others


def test_the_server_is_the_public_url_where_there_is_one(tmp_path, description, page):
    assert description.document["servers"] == [{"url": "/"}]
    assert "curl http://127.0.0.1:8000/v1/test" in page.text
    for app in app_of(Settings(data_dir=tmp_path, public_url="https://example.org:8443/timbre")):
        client = app.test_client()
        assert client.get("/openapi.json").json["servers"] == [{"url": "https://example.org:8443/timbre"}]
        assert "curl https://example.org:8443/timbre/v1/test" in client.get("/docs").text


def test_page_and_document_are_made_once_and_no_request_changes_them(app, page, monkeypatch):
    monkeypatch.delattr("api.docs.render_template")
    client = app.test_client()
    assert client.get("/docs", headers={"Host": "elsewhere.example"}).data == page.data
    assert b"elsewhere" not in client.get("/openapi.json", headers={"Host": "elsewhere.example"}).data


@pytest.mark.parametrize(
    ("schema", "field", "words"),
    [
        ("VerifyRequest", "operatingPoint", ["balanced", "50", "strict", "90", "strictest", "99"]),
        ("IdentifyRequest", "matching", ["defaults"]),
        ("Matching", "threshold", ["50", "90", "99", "strangers"]),
        ("Matching", "exclusive", ["one speaker at most"]),
    ],
)
def test_the_options_of_a_decision_are_described(schema, field, words, description):
    text = description.schema(schema)["properties"][field]["description"]
    assert not [word for word in words if word not in text]


CLIENT_BODIES = [
    ("/v1/voiceprint", {"url": "https://example.com/audio.wav"}),
    ("/v1/voiceprint", {"url": "https://example.com/audio.wav", "webhook": "https://example.com/webhook"}),
    ("/v1/voiceprint", {"url": "media://0cc175b9c0f1b6a831c399e269772661", "model": "precision-2"}),
    ("/v1/voiceprint", {"url": "https://example.com/a.wav", "model": None, "webhookStatusOnly": True}),
    ("/v1/diarize", {"url": "https://example.com/a.wav", "model": "precision-2", "numSpeakers": None,
                     "minSpeakers": None, "maxSpeakers": None, "confidence": False, "turnLevelConfidence": False,
                     "exclusive": False, "transcription": False}),
    ("/v1/diarize", {"url": "https://example.com/a.wav", "webhook": "https://example.com/hook", "model": "community-1",
                     "numSpeakers": 2, "turnLevelConfidence": None}),
    ("/v1/identify", {"url": "media://a", "model": "precision-2", "numSpeakers": None, "minSpeakers": None,
                      "maxSpeakers": None, "confidence": False, "turnLevelConfidence": False, "exclusive": False,
                      "voiceprints": [{"label": "John Doe", "voiceprint": "U29tZUJhc2U2NERhdGE"}],
                      "matching": {"exclusive": True, "threshold": 0.0}}),
    ("/v1/identify", {"url": "media://a", "voiceprints": [{"label": "Ada", "voiceprint": "U29tZUJhc2U2NERhdGE"}],
                      "matching": {"exclusive": None, "threshold": None}}),
    ("/v1/media/input", {"url": "media://example/my-audio_1.wav"}),
    ("/v1/media/output", {"url": "media://example/my-audio_1.wav"}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body"), CLIENT_BODIES)
def test_what_the_vendors_documents_and_its_sdk_send_is_valid(path, body, description):
    schema = description.operation("POST", path).body["requestBody"]["content"]["application/json"]["schema"]
    assert description.errors(schema, body) == []
    for broken in (body | {"url": 1}, body | {"url": "file:///etc/passwd"}):
        assert description.errors(schema, broken)


def test_the_page_shows_every_operation_error_and_schema(page, description):
    text = html.unescape(page.text)
    for operation in description.operations():
        assert f'id="{operation.body["operationId"]}"' in text
        assert operation.path in text
    for error in concrete_errors():
        if issubclass(error, RequestError | JobFailure):
            row = re.search(f'<tr id="error-{error.code}">(.*?)</tr>', text, re.DOTALL)[1]
            assert f"<td>{'yes' if error.retryable else 'no'}</td>" in row
            assert str(STATUS.get(error, "job")) in row
    for name in (*description.document["components"]["schemas"], *description.document["webhooks"]):
        assert f">{name}<" in text or f"</span> {name}<" in text


def test_the_page_loads_nothing_and_runs_only_its_own_script(page):
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    allowed = dict(part.split(" ", 1) for part in page.headers["Content-Security-Policy"].split("; "))
    assert allowed["default-src"] == "'none'"
    assert allowed["connect-src"] == "'self'"
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert allowed[f"{tag}-src"] == f"'sha256-{digest}'"
    assert not re.search(r"<script [^>]|<img|<link|src=|style=|url\(|@import|fetch\(url|\son\w+=", page.text)


def test_the_page_shows_the_version_and_for_every_operation_samples_and_examples(page, description):
    assert f"<small>{description.document['info']['version']}</small>" in page.text
    for operation in description.operations():
        name = operation.body["operationId"]
        article = re.search(f'<article id="{name}">(.*?)</article>', page.text, re.DOTALL)[1]
        for language in ("curl", "Python", "JavaScript"):
            assert f'aria-label="{language}"' in article
        examples = [one for one in description.answers(operation).items() if one[1].get("content")]
        shown = [status for status, _ in examples if f"<h4>Response {status}</h4>" in article]
        assert shown == [status for status, answer in examples if status < "3" and "octet" not in str(answer)] + (
            ["503"] if name == "readyz" else []
        )


def test_the_page_leads_from_each_job_to_the_table_of_its_output(page):
    for name, output in (
        ("create_voiceprint", "VoiceprintOutput"),
        ("diarize", "DiarizationOutput"),
        ("identify", "IdentificationOutput"),
        ("verify", "VerificationOutput"),
    ):
        article = re.search(f'<article id="{name}">(.*?)</article>', page.text, re.DOTALL)[1]
        assert f'<a href="#schema-{output}">' in article
        assert f'id="schema-{output}"' in page.text


def test_it_leads_to_the_page_for_people_where_there_is_one(tmp_path, page):
    assert "Record and compare" not in page.text
    for app in app_of(Settings(data_dir=tmp_path, page=True)):
        assert app.test_client().get("/docs").text.count('<a class="to-page" href="./">') == 2


def test_every_link_of_the_page_leads_somewhere(page):
    links = set(re.findall(r'href="(.*?)"', page.text))
    ids = {f"#{name}" for name in re.findall(r'id="(.*?)"', page.text)}
    assert links <= ids | {"openapi.json"}
