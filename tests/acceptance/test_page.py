"""The page as it is served: signed in by the printed address, nothing from elsewhere, and nothing hidden by it."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, Locator, Page, Playwright, Route, expect

from shared.local.stack import Stack
from tests.support.browser import assert_accessible, assert_fits, launched, opened, wav
from tests.support.client import Client, eventually
from tests.support.sounds import DATA
from tests.support.stacks import logs, make_client

STORED = "sessionStorage.getItem('timbre.key')"
SHELF = "async () => (await import('/static/common/memory.js')).voices().map(({name}) => name)"
REMEMBER = """async (name) => {
  const memory = await import('/static/common/memory.js');
  memory.addVoice({name, voiceprint: '...', model: 'ge2e@1'});
  memory.noteJob('1', {name: `Call of ${name}`, source: 'media://call'});
}"""
BRING_ANEW = "(hash) => { history.replaceState(null, '', hash); location.reload(); }"
LISTEN = """async () => {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  context.createMediaStreamSource(await navigator.mediaDevices.getUserMedia({audio: true})).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  window.loudest = () => { analyser.getFloatTimeDomainData(samples); return Math.max(...samples); };
}"""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def test_the_printed_address_signs_in_and_the_key_leaves_the_address_and_reaches_no_log(
    signed_in: Callable[..., Page], page_client: Client, page_stack: Stack
) -> None:
    page = signed_in()
    eventually(lambda: page.evaluate(STORED))
    assert page.evaluate(STORED) == page_client.key
    assert page.url == f"{page_stack.url}/"
    page.reload()
    assert page.evaluate(STORED) == page_client.key
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    # Nor does a step back lead to it.
    assert page.evaluate("history.length") <= 2
    assert page_client.key not in logs(page_stack)


def test_another_tab_is_not_signed_in(open_page: Callable[..., Page], signed_in: Callable[..., Page]) -> None:
    first = signed_in()
    eventually(lambda: first.evaluate(STORED))
    assert open_page().evaluate(STORED) is None


@pytest.fixture(scope="module")
def page_stranger(page_stack: Stack) -> Client:
    return make_client(page_stack, "Stranger & <b>Co</b>")


def whose(page: Page) -> Locator:
    return page.locator("#client")


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    press(page, "Sign in")


@pytest.mark.parametrize("reopened", [True, False])
def test_another_key_in_the_address_replaces_the_one_in_use_only_after_a_question(
    reopened: bool, signed_in: Callable[..., Page], page_stack: Stack, page_client: Client, page_stranger: Client
) -> None:
    page = signed_in(width=360)
    expect(whose(page)).to_have_text("Key of default")

    def bring() -> None:
        # A reload lets the page begin with that address, and without one it changes under the page.
        page.evaluate(
            "(hash) => { location.hash = hash; }" if not reopened else BRING_ANEW, f"#key={page_stranger.key}"
        )
        expect(page.get_by_role("dialog")).to_contain_text("brings another API key")
        assert page_stranger.key not in page.url

    bring()
    assert_accessible(page)
    assert_fits(page)
    page.keyboard.press("Enter")  # the focus is on the safe answer
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert page.evaluate(STORED) == page_client.key
    bring()
    press(page, "Use the other key")
    expect(whose(page)).to_have_text("Key of Stranger & <b>Co</b>")
    assert page.evaluate(STORED) == page_stranger.key
    assert_fits(page)


def test_what_is_remembered_is_one_client_s_and_signing_out_forgets_jobs_and_asks_for_voices(
    signed_in: Callable[..., Page], page_client: Client, page_stranger: Client
) -> None:
    page = signed_in()
    expect(whose(page)).to_have_text("Key of default")
    page.evaluate(REMEMBER, "Ann")
    press(page, "Sign out")
    expect(page.get_by_role("dialog")).to_contain_text("Keep the 1 voice in this browser?")
    page.keyboard.press("Escape")
    assert page.evaluate(STORED) == page_client.key
    press(page, "Sign out")
    press(page, "Keep")
    sign_in(page, page_stranger.key)
    expect(whose(page)).to_contain_text("Stranger")
    assert page.evaluate(SHELF) == []
    assert "Call of Ann" not in page.evaluate("JSON.stringify([localStorage, sessionStorage])")
    press(page, "Sign out")
    sign_in(page, page_client.key)
    expect(whose(page)).to_have_text("Key of default")
    assert page.evaluate(SHELF) == ["Ann"]
    press(page, "Sign out")
    press(page, "Forget")
    expect(page.get_by_label("API key")).to_be_visible()
    assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]


def test_what_is_remembered_before_the_client_is_known_is_not_lost(
    open_page: Callable[..., Page], page_client: Client
) -> None:
    page = open_page(expected=["console: .*ERR_FAILED", "failed: .*v1/user"])
    page.route("**/v1/user", lambda route: route.abort())
    sign_in(page, page_client.key)
    page.get_by_role("link", name="Compare", exact=True).click()
    page.evaluate(REMEMBER, "Bob")
    expect(page.get_by_role("heading", name="Bob")).to_be_visible()
    assert page.evaluate("localStorage.length") == 0
    page.unroute("**/v1/user")
    expect(whose(page)).to_have_text("Key of default")
    page.reload()
    expect(page.get_by_role("heading", name="Compare voices")).to_be_visible()
    assert page.evaluate(SHELF) == ["Bob"]


@pytest.mark.parametrize("key", ["%", "%E0%A4%A", "sk_%E2%80%A6abc", "sk_a%0Ab", ""])
def test_a_key_that_cannot_be_sent_is_refused_with_a_sentence(key: str, open_page: Callable[..., Page]) -> None:
    page = open_page(f"/#key={key}")
    expect(page.get_by_role("alert").filter(has_text="no whole API key")).to_be_visible()
    assert page.evaluate(STORED) is None
    assert "#" not in page.url
    sign_in(page, "sk_…abc")
    expect(page.get_by_role("alert").filter(has_text="no whole API key")).to_be_visible()
    assert page.evaluate(STORED) is None


def test_a_name_of_every_object_is_no_view(signed_in: Callable[..., Page]) -> None:
    page = signed_in()
    page.evaluate("location.hash = '#/constructor'")
    expect(page.get_by_role("heading", name="Hear who speaks")).to_be_visible()


def test_a_page_by_another_name_of_the_service_sends_and_plays(
    browser: Browser, page_stack: Stack, page_client: Client
) -> None:
    # Whatever the service calls itself, its addresses lead to where the page came from.
    named = page_stack.url.replace("127.0.0.1", "localhost")
    with opened(browser, f"{page_stack.url}/#key={page_client.key}") as page:
        page.route("**/v1/media/*put", lambda route: rename(route, page_stack.url, named))
        page.locator("#listen input[type=file]").set_input_files(DATA / "conversation.flac")
        press(page, "Listen")
        expect(page.locator("#listen .answer")).not_to_be_empty()
        with page.expect_response("**/v1/media/download/*") as heard:
            page.reload()
        assert heard.value.ok
        assert heard.value.url.startswith(page_stack.url)


def rename(route: Route, url: str, named: str) -> None:
    answer = route.fetch()
    route.fulfill(response=answer, body=answer.text().replace(url, named))


def test_what_was_given_outlasts_a_refused_key_for_its_own_client_alone(
    open_page: Callable[..., Page], page_client: Client, page_stranger: Client
) -> None:
    page = open_page(f"/#key={page_client.key}", expected=["console: .*401"])
    for key, kept in ((page_client.key, True), (page_stranger.key, False)):
        expect(whose(page)).to_have_text("Key of default")
        page.locator("#listen input[type=file]").set_input_files(DATA / "conversation.flac")
        page.route("**/v1/media/input", lambda route: route.fulfill(status=401, json={"message": "Revoked."}))
        press(page, "Listen")
        expect(page.get_by_role("alert").filter(has_text="or it was revoked")).to_be_visible()
        page.unroute("**/v1/media/input")
        sign_in(page, key)
        if kept:
            expect(page.locator(".given")).to_contain_text("conversation.flac")
            press(page, "Take another")
    expect(page.get_by_role("button", name="Record")).to_be_visible()
    expect(page.locator(".given")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_is_accessible_and_fits(scheme: str, width: int, signed_in: Callable[..., Page]) -> None:
    page = signed_in(scheme=scheme, width=width)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert_accessible(page)
    assert_fits(page)


def test_the_policy_is_strict_and_no_code_of_others_runs(open_page: Callable[..., Page]) -> None:
    page = open_page(expected=["console: .*Content Security Policy.*script-src"])
    assert page.request.get(page.url).headers["content-security-policy"] == POLICY
    page.evaluate("document.body.setAttribute('onclick', 'document.title = 1'); document.body.click()")
    assert page.title() != "1"


@pytest.mark.parametrize(
    ("deed", "fault"),
    [
        (
            "fetch('https://elsewhere.example/').catch(() => 0)",
            r"console: .*elsewhere\.example.*connect-src",
        ),
        ("location = 'https://elsewhere.example/'", r"elsewhere: https://elsewhere\.example/"),
        ("fetch('/nowhere')", r"console: .*404"),
        ("setTimeout(() => { throw new Error('a bug') })", "uncaught: .*a bug"),
        ("document.body.insertAdjacentHTML('beforeend', '<p style=color:red>')", r"console: .*style-src"),
    ],
)
def test_a_fault_on_the_page_fails_its_test(deed: str, fault: str, page_stack: Stack, browser: Browser) -> None:
    with pytest.raises(AssertionError, match=fault), opened(browser, page_stack.url) as page:
        # Waited for by what the page does next.
        page.evaluate(f"(async () => {{ {deed}; await new Promise(requestAnimationFrame); }})()")
        page.wait_for_load_state("networkidle")


def test_a_serious_violation_and_a_page_that_is_too_wide_are_found(open_page: Callable[..., Page]) -> None:
    page = open_page(width=360)
    page.evaluate(
        "document.body.append(Object.assign(new Image(), {src: 'data:,'})); document.body.style.minWidth = '600px'"
    )
    with pytest.raises(AssertionError, match=r"image-alt \(critical\)"):
        assert_accessible(page)
    with pytest.raises(AssertionError, match="pixels wide"):
        assert_fits(page)


def test_a_fake_microphone_is_heard_by_the_page(page_stack: Stack, driver: Playwright, tmp_path: Path) -> None:
    recording = wav(DATA / "conversation.flac", tmp_path)
    with launched(driver, recording) as browser, opened(browser, page_stack.url) as page:
        page.evaluate(LISTEN)
        eventually(lambda: page.evaluate("loudest() > 0.05"))


def test_no_page_may_frame_it(page_stack: Stack) -> None:
    policy = requests.get(page_stack.url, timeout=5).headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy


def test_it_needs_no_key_and_is_counted_for_no_client(page_stack: Stack) -> None:
    for path in ("/", "/static/main.js", "/static/page.css", "/static/theme.css"):
        answer = requests.get(page_stack.url + path, timeout=5)
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith("X-RateLimit")]
        known = requests.get(page_stack.url + path, headers={"If-None-Match": answer.headers["ETag"]}, timeout=5)
        assert (known.status_code, known.content) == (304, b"")


@pytest.mark.parametrize("path", ["/static/..%2fapp.py", "/static/%2e%2e/page.py", "/static//etc/passwd", "/static/"])
def test_nothing_but_its_files_is_served(path: str, page_stack: Stack) -> None:
    session = requests.Session()
    request = session.prepare_request(requests.Request("GET", page_stack.url))
    request.url = page_stack.url + path  # as it stands: requests would resolve the dots itself
    answer = session.send(request, timeout=5)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_the_log_names_its_routes(page_stack: Stack) -> None:
    requests.get(f"{page_stack.url}/static/main.js", timeout=5)
    lines = [json.loads(line) for line in logs(page_stack, "api.log").splitlines() if line.startswith("{")]
    assert "/static/<path:name>" in {line.get("rule") for line in lines}


def test_a_service_in_production_has_no_page_unless_it_is_asked_for(strict: Client) -> None:
    answer = requests.get(strict.url, timeout=5)
    assert answer.url == f"{strict.url}/docs"
    assert requests.get(f"{strict.url}/static/main.js", timeout=5).status_code == 404


def test_every_file_that_the_page_names_is_its_own() -> None:
    folder = Path(__file__).parents[2] / "api" / "static"
    text = "\n".join(path.read_text() for path in folder.rglob("*") if path.suffix in {".html", ".js", ".css"})
    assert not re.search(r"""(?:src|href|from|import|url)\s*[=(]?\s*["'(]?(?:https?:)?//""", text)
