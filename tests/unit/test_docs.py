"""Documents keep up: settings, errors, operations, commands, models and code blocks are all in them."""

import ast
import re
import tomllib
from dataclasses import fields

import click
import pytest

from api import database, keys
from api.app import create_app
from api.errors import STATUS
from api.services import Services
from shared import __version__
from shared.dialects.pyannoteai.outputs import OUTPUTS, FailureOutput, RecordingQuality
from shared.domain.errors import InternalError, RequestError, concrete_errors
from shared.local.__main__ import COMMANDS
from shared.settings import Settings
from tests.support.readme import DOCUMENTS, EXECUTED, ROOT, all_blocks, prose
from tests.support.routes import routes

API = DOCUMENTS["api/README.md"]
MODELS = DOCUMENTS["models/README.md"]
OPERATE = DOCUMENTS["shared/README.md"]
TARGETS = re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
MOST_LINES = 200
MOST_WORDS = 20
#: Steps that a job's `timings` name.
STEPS = ("download", "decode", "vad", "encode", "overlap", "diarize", "embed", "transcribe")


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    services = Services.from_settings(Settings(data_dir=tmp_path_factory.mktemp("data")))
    yield create_app(services)
    services.engine.dispose()


def row(text, first_cell):
    """Return the cells of the table row that begins so."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {first_cell} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def sentences(text):
    """Yield the sentences of a document's paragraphs and lists."""
    lines = [line for line in prose(text).replace("**", "").splitlines() if not line.startswith(("|", "#"))]
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:-|\d+\.) )", "\n".join(lines)):
        # A link is its words, a piece of code is one word.
        plain = re.sub(r"`[^`]*`", "code", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", paragraph))
        yield from re.split(r"(?<=[.?])\s+", " ".join(plain.split()))


@pytest.mark.parametrize("setting", fields(Settings), ids=lambda f: f.name)
def test_every_setting_is_documented_with_its_meaning_and_default(setting):
    _, default, meaning = row(OPERATE, f"`TIMBRE_{setting.name.upper()}`")
    assert setting.metadata["doc"] == meaning
    if setting.default is not None and setting.name != "weights_dir":
        assert default == f"`{str(setting.default).lower() if isinstance(setting.default, bool) else setting.default}`"


def test_no_setting_is_documented_that_does_not_exist():
    settings = {f"TIMBRE_{f.name.upper()}" for f in fields(Settings)}
    known = settings | {f"{name}_FILE" for name in settings}
    assert set(re.findall(r"^\| `(TIMBRE_[\w.]+)`", OPERATE, re.MULTILINE)) == settings | {"TIMBRE_..._FILE"}
    # The port that compose publishes, and the memory of its Redis, are its own.
    named = {name for text in DOCUMENTS.values() for name in re.findall(r"TIMBRE_[A-Z0-9_]+", text)}
    assert named <= known | {"TIMBRE_PORT", "TIMBRE_REDIS_MEMORY"}


@pytest.mark.parametrize("error", list(concrete_errors()), ids=lambda e: e.code)
def test_every_error_is_documented_with_its_status_and_whether_to_retry(error):
    _, place, _, retry = row(API, f"`{error.code}`")
    assert retry == ("yes" if error.retryable else "no")
    if issubclass(error, RequestError):
        assert place == str(STATUS[error])
    if error is InternalError:
        assert place == "500, job"


def test_error_codes_are_unique_and_every_request_error_has_a_status():
    errors = list(concrete_errors())
    assert len({error.code for error in errors}) == len(errors)
    assert {error for error in errors if issubclass(error, RequestError)} == set(STATUS)


def test_every_operation_is_documented_and_no_other(app):
    there = {f"{method} {path}".replace("job_id", "jobId") for method, path in routes(app)}
    table = "\n".join(line for line in API.splitlines() if line.startswith(("| `GET", "| `P", "| `DELETE")))
    assert set(re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) [^`?]+)`", table)) == there


def test_every_parameter_and_body_field_is_documented(app):
    description = app.extensions["flask-smorest"]["apis"][""]["ext_obj"].spec.to_dict()
    requests = [name for name in description["components"]["schemas"] if name.endswith(("Request", "Matching"))]
    names = {field for name in requests for field in description["components"]["schemas"][name]["properties"]}
    operations = [one for path in description["paths"].values() for one in path.values() if isinstance(one, dict)]
    parameters = [parameter for operation in operations for parameter in operation.get("parameters", ())]
    names |= {parameter["name"] for parameter in parameters if parameter["in"] == "query"}
    assert {"voiceprints", "wait", "keepMedia", "threshold"} <= names
    assert {name for name in names if not re.search(rf"\b{name}\b", API)} == set()


def test_every_model_of_the_manifest_is_documented():
    manifest = tomllib.loads((ROOT / "models" / "manifest.toml").read_text())
    for handle, model in manifest.items():
        _, _, dimension, least_speech, _ = row(MODELS, f"`{handle}`")
        assert dimension == str(model["dimension"])
        assert least_speech == f"{model['min_speech_s']} s"


def test_every_recogniser_that_can_be_installed_is_documented():
    recognisers = tomllib.loads((ROOT / "models" / "recognisers.toml").read_text())
    for handle, recogniser in recognisers.items():
        if recogniser["architecture"] == "nemo_ctc":
            _, language, licence, _ = row(MODELS, f"`{handle}`")
            assert f"(`{recogniser['language']}`)" in language
            assert licence == recogniser["licence"]


@pytest.mark.parametrize("schema", [*OUTPUTS, RecordingQuality], ids=lambda s: s.__name__)
def test_every_output_field_is_documented(schema):
    if schema is FailureOutput:
        assert '{"error": "a sentence", "code": "a_code"}' in API
    else:
        assert {name for name in schema().fields if f"`{name}`" not in API} == set()


def test_the_steps_of_a_job_are_documented():
    assert all(f"`{step}`" in API for step in STEPS)


@pytest.mark.parametrize(
    "command", [*keys.main.commands.values(), *database.main.commands.values()], ids=lambda c: c.name
)
def test_every_command_of_api_keys_and_api_database_is_documented(command):
    arguments = [p.human_readable_name.upper() for p in command.params if isinstance(p, click.Argument)]
    _, meaning = row(OPERATE, f"`{' '.join([command.name, *arguments])}`")
    options = [option for p in command.params if isinstance(p, click.Option) for option in p.opts]
    assert [option for option in options if option not in meaning] == []


def test_every_make_target_is_documented_and_no_other():
    text = "\n".join(DOCUMENTS.values())
    assert set(re.findall(r"(?:`|^|\btrue |\d )make ([a-z][a-z-]*)", text, re.MULTILINE)) == set(TARGETS)


def test_every_command_without_make_is_one_of_those_that_exist():
    named = re.findall(r"python3 -m shared\.local ([a-z-]+)", "\n".join(DOCUMENTS.values()))
    assert set(named) <= set(COMMANDS)
    assert {"demo", "run", "keys"} <= set(named)


def test_the_readme_is_short():
    assert len(DOCUMENTS["README.md"].splitlines()) <= MOST_LINES


def test_the_readme_leads_to_every_other_document():
    assert {name for name in DOCUMENTS if name != "README.md" and f"]({name}" not in DOCUMENTS["README.md"]} == set()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_files_and_headings(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(DOCUMENTS[document])):
        if target.startswith("https://"):
            continue
        path, _, heading = target.partition("#")
        file = ((ROOT / document).parent / path).resolve() if path else ROOT / document
        assert file.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", prose(file.read_text()), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_documents_name_exist(document):
    files = re.findall(r"`((?:\.ci|api|models|shared|tests|worker)/[\w./-]+)`", DOCUMENTS[document])
    # Installation makes this folder.
    assert {file for file in files if not (ROOT / file).exists()} <= {"models/weights", "models/weights/"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_sentences_are_short(document):
    long = [sentence for sentence in sentences(DOCUMENTS[document]) if len(sentence.split()) > MOST_WORDS]
    assert long == []


def test_the_worked_example_of_a_rare_person_follows_from_the_table_of_confidences():
    cells = row(MODELS, "clean / telephone (8 kHz, mu-law)")
    passing, refused = (float(number) for number in cells[2].split(" / "))
    strict_passing, strict_refused = (float(number) for number in cells[3].split(" / "))
    readme = " ".join(DOCUMENTS["README.md"].split())
    assert f"At 50, {passing} % of strangers pass and {refused} % of right calls are refused" in readme
    assert f"At 90 it is {strict_passing} % and {strict_refused} %" in readme
    right = 1 - refused / 100
    strangers = 999 * passing / 100
    assert f"999 strangers x {passing} % = {strangers:.1f} strangers pass, beside {right:.1f} right callers" in readme
    assert f"So only {100 * right / (right + strangers):.0f} % of the accepted are right" in readme
    strict_right = 1 - strict_refused / 100
    strict_strangers = 999 * strict_passing / 100
    assert f"At 90, 999 strangers x {strict_passing} % = {strict_strangers:.1f} strangers pass" in readme
    assert f"Then {100 * strict_right / (strict_right + strict_strangers):.0f} % of the accepted are right" in readme
    assert f"One caller at confidence 90 has odds of 9 x 1/999: a chance of {chance(90):.1f} %" in readme
    assert f"At confidence 99 the chance is {chance(99):.0f} %" in readme


def chance(confidence):
    """Return in % what a confidence makes of a chance of 1 in 1000 beforehand (Bayes)."""
    odds = confidence / (100 - confidence) / 999
    return 100 * odds / (1 + odds)


def test_the_changelog_knows_this_version():
    assert re.search(rf"^(## \[|Version ){re.escape(__version__)}\b", DOCUMENTS["CHANGELOG.md"], re.MULTILINE)


def test_every_code_block_has_a_name_and_a_test_and_every_listed_block_is_there():
    assert all(block.language and block.name for block in all_blocks())
    assert sorted((block.document, block.name) for block in all_blocks()) == sorted(EXECUTED)


@pytest.mark.parametrize(("document", "name"), EXECUTED)
def test_the_listed_test_of_a_code_block_uses_it(document, name):
    path, _, test = EXECUTED[document, name].partition("::")
    source = (ROOT / path).read_text()
    functions = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    taken = _constants(functions[test])
    for called in _called(functions[test]) & functions.keys():
        taken |= _constants(functions[called])
    assert {document, name} <= taken


def _constants(function):
    return {node.value for node in ast.walk(function) if isinstance(node, ast.Constant)}


def _called(function):
    return {
        node.func.id for node in ast.walk(function) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
