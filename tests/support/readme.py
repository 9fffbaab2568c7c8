"""Documents of the repository, their code blocks, and the test that executes each block."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("api", "api/dialects", "models", "shared", "shared/deploy", "tests")
#: Path from the root -> text.
DOCUMENTS = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in [
        *sorted(ROOT.glob("*.md")),
        *(path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.md"))),
    ]
}
#: Languages that are drawn, not executed.
PICTURES = {"mermaid"}
#: A block's first line has its language, and its name behind it.
_FENCED = re.compile(r"^```(?P<language>\w*)(?: (?P<name>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)

_README = "tests/acceptance/test_readme.py::"
_TOKENS = "tests/acceptance/test_browser_tokens.py::"
_BACKUPS = "tests/acceptance/test_backups.py::"
_CONTAINERS = "tests/integration/test_containers.py::"
_COMPOSE = "tests/unit/test_compose.py::"
_OWN = "tests/models/test_own_onnx.py::"
#: (document, name of the block) -> the test that executes the block.
EXECUTED = {
    ("README.md", "two-commands"): f"{_README}test_the_two_commands_are_demo_and_run",
    ("README.md", "variables"): f"{_README}test_the_curl_lines_make_a_voiceprint",
    ("README.md", "upload"): f"{_README}test_the_curl_lines_make_a_voiceprint",
    ("README.md", "submit"): f"{_README}test_the_curl_lines_make_a_voiceprint",
    ("README.md", "wait"): f"{_README}test_the_curl_lines_make_a_voiceprint",
    ("README.md", "people"): f"{_README}test_the_curl_lines_enrol_and_verify_a_person",
    ("README.md", "people.py"): f"{_README}test_the_python_lines_enrol_and_verify_a_person",
    ("api/README.md", "people.mjs"): f"{_README}test_the_javascript_lines_enrol_and_verify_a_person",
    ("api/dialects/README.md", "spaces"): f"{_README}test_a_client_of_spaces_is_pointed_here",
    ("api/dialects/README.md", "users"): f"{_README}test_a_client_of_voice_biometrics_users_is_pointed_here",
    ("api/dialects/README.md", "single-call"): f"{_README}test_a_client_of_single_calls_is_pointed_here",
    ("README.md", "sdk"): f"{_README}test_the_sdk_lines_say_who_speaks_when",
    ("api/README.md", "voiceprint.mjs"): f"{_README}test_the_javascript_program_makes_a_voiceprint",
    ("api/README.md", "page-server.mjs"): f"{_TOKENS}test_the_documented_page_makes_a_voiceprint_with_a_token_alone",
    ("api/README.md", "page.html"): f"{_TOKENS}test_the_documented_page_makes_a_voiceprint_with_a_token_alone",
    ("api/README.md", "receiver.py"): f"{_README}test_the_receiver_prints_webhooks_and_refuses_forged_ones",
    ("api/README.md", "webhook"): f"{_README}test_the_receiver_prints_webhooks_and_refuses_forged_ones",
    ("api/README.md", "run-with-local-webhooks"): f"{_README}test_the_settings_for_local_webhooks_allow_the_receiver",
    ("api/README.md", "compare"): "tests/acceptance/test_compare.py::test_two_voiceprints_compare_as_they_verify",
    ("api/README.md", "read-voiceprint"): f"{_README}test_the_ten_lines_that_read_a_voiceprint_agree_with_ours",
    ("api/dialects/README.md", "proxy"): (
        "tests/acceptance/test_voisentry_sockets.py::test_a_user_is_registered_updated_and_verified_over_sockets"
    ),
    ("shared/README.md", "back-up"): f"{_BACKUPS}test_what_was_backed_up_and_wiped_is_there_again",
    ("shared/README.md", "restore"): f"{_BACKUPS}test_what_was_backed_up_and_wiped_is_there_again",
    ("shared/README.md", "move"): f"{_BACKUPS}test_the_small_installation_moves_to_postgresql",
    ("shared/README.md", "back-up-database"): f"{_CONTAINERS}test_a_small_service_is_restored",
    ("shared/README.md", "back-up-recordings"): f"{_CONTAINERS}test_a_small_service_is_restored",
    ("shared/README.md", "restore-small"): f"{_CONTAINERS}test_a_small_service_is_restored",
    ("shared/README.md", "back-up-store"): f"{_CONTAINERS}test_database_and_store_of_production_are_restored",
    ("shared/README.md", "restore-production"): f"{_CONTAINERS}test_database_and_store_of_production_are_restored",
    ("shared/README.md", "keep-secret"): f"{_CONTAINERS}test_a_small_service_becomes_one_for_production",
    ("shared/README.md", "fill-production"): f"{_CONTAINERS}test_a_small_service_becomes_one_for_production",
    ("shared/README.md", "publish-metrics"): f"{_COMPOSE}test_metrics_of_another_machine_are_published_and_scraped",
    ("shared/README.md", "scrape-machines"): f"{_COMPOSE}test_metrics_of_another_machine_are_published_and_scraped",
    ("shared/README.md", "roll-back"): f"{_BACKUPS}test_the_small_installation_moves_to_postgresql",
    ("models/README.md", "wespeaker"): f"{_OWN}test_the_readmes_descriptors_fit_what_those_toolkits_export",
    ("models/README.md", "3d-speaker"): f"{_OWN}test_the_readmes_descriptors_fit_what_those_toolkits_export",
    ("models/README.md", "redimnet"): f"{_OWN}test_the_readmes_descriptors_fit_what_those_toolkits_export",
    ("shared/README.md", "several-machines"): (
        "tests/acceptance/test_machines.py::test_the_documented_settings_are_those_of_these_machines"
    ),
    ("api/README.md", "s3-to-webhook"): (
        "tests/hostile/test_s3.py::test_the_readmes_lines_lead_from_a_private_bucket_to_a_webhook"
    ),
}


def chapter(heading: str) -> str:
    """Return the chapter of a vendor's API in the document of them."""
    return DOCUMENTS["api/dialects/README.md"].split(f"\n## {heading}\n")[1].split("\n## ")[0]


@dataclass(frozen=True)
class Block:
    """Code block of a document."""

    document: str
    language: str
    #: Empty where it has none.
    name: str
    text: str


def all_blocks() -> list[Block]:
    """Return the code blocks of every document, pictures left out."""
    return [
        Block(document, found["language"], found["name"] or "", found["text"])
        for document, text in DOCUMENTS.items()
        for found in _FENCED.finditer(text)
        if found["language"] not in PICTURES
    ]


def block(document: str, name: str) -> str:
    """Return the text of a block; raises ValueError unless there is one of this name."""
    (found,) = [one.text for one in all_blocks() if (one.document, one.name) == (document, name)]
    return found


def prose(text: str) -> str:
    """Return a document without its code blocks."""
    return _FENCED.sub("", text)
