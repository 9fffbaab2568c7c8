"""The page is given a voice: recorded, chosen, dropped or by its address; canceled, refused, and cut off."""

import ast
import base64
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, Playwright, expect

from shared.local.stack import Process, Stack
from tests.support.browser import assert_accessible, assert_fits, launched, opened, remembered_job, wav
from tests.support.client import Client, Json, eventually, voiceprint
from tests.support.servers import AudioHost
from tests.support.sounds import DATA, DOMINANT, OTHER

CLIP = DATA / f"{DOMINANT}-142285-0005.flac"
CONVERSATION = DATA / "conversation.flac"
OpenPage = Callable[..., Page]

#: Keeps what the page hears, so that a test can see whether it let go.
WATCH_MICROPHONE = """() => {
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (wanted) => (window.heard = await ask(wanted));
}"""
RELEASED = "window.heard.getTracks().every((track) => track.readyState === 'ended')"
DROP = """(zone, {name, content}) => {
  const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name));
  for (const type of ["dragover", "drop"]) {
    zone.dispatchEvent(new DragEvent(type, {bubbles: true, cancelable: true, dataTransfer: data}));
  }
}"""
UPLOAD_NAME = "async (name) => (await import('/static/listen/given.js')).uploadName(name)"
#: Steps that were shown, for those that are over too soon to be looked at.
NOTE_STEPS = """() => {
  window.steps = new Set();
  const note = () => window.steps.add(document.querySelector(".step")?.textContent);
  new MutationObserver(note).observe(document.querySelector("#listen"), {subtree: true, childList: true});
}"""


@contextmanager
def speaking(driver: Playwright, address: str, recording: Path, folder: Path) -> Iterator[Page]:
    """Open the page in a browser whose microphone hears a recording."""
    with launched(driver, wav(recording, folder)) as browser, opened(browser, address) as page:
        page.evaluate(WATCH_MICROPHONE)
        yield page


@pytest.fixture
def address(page_stack: Stack, page_client: Client) -> str:
    return f"{page_stack.url}/#key={page_client.key}"


@pytest.fixture(scope="module")
def page_enrolled(page_client: Client) -> dict[str, str]:
    """A voiceprint of each person of the conversation."""
    files = {who: sorted(DATA.glob(f"{who}-*.flac"))[0] for who in (DOMINANT, OTHER)}
    jobs = {who: page_client.run(page_client.upload(file.name, file.read_bytes())) for who, file in files.items()}
    return {who: job["output"]["voiceprint"] for who, job in jobs.items()}


def put_on_shelf(page: Page, voices: list[tuple[str, str]]) -> None:
    """Let the page remember voices, each a name and a voiceprint."""
    shelf = [{"name": name, "voiceprint": text} for name, text in voices]
    page.evaluate("async (shelf) => shelf.forEach((await import('/static/common/memory.js')).addVoice)", shelf)


def listen(page: Page) -> None:
    page.get_by_role("button", name="Listen", exact=True).click()


def choose(page: Page, name: str, content: bytes) -> None:
    page.locator("#listen input[type=file]").set_input_files({"name": name, "mimeType": "", "buffer": content})


def step(page: Page, text: str) -> Locator:
    return page.get_by_role("heading", name=text)


def result_of(page: Page, client: Client) -> Json:
    """Wait for the result; returns its job, which the page's address names."""
    expect(page.locator("#listen .answer")).not_to_be_empty()
    found = re.search(r"#/listen/([0-9a-f-]{36})$", page.url)
    assert found
    return client.job(found[1])


def test_a_voice_is_recorded_heard_again_and_becomes_a_voiceprint(
    driver: Playwright, address: str, page_client: Client, tmp_path: Path
) -> None:
    with speaking(driver, address, CLIP, tmp_path) as page:
        page.get_by_role("button", name="Record").click()
        # The clip lasts 4.3 s.
        expect(page.get_by_role("timer")).to_have_text(re.compile(r"^0:([01]\d|2[0-4]) left$"))
        page.get_by_role("button", name="Stop").click()
        expect(page.get_by_label("A voiceprint of the main speaker")).to_be_checked()
        assert page.evaluate(RELEASED)
        eventually(lambda: page.evaluate("document.querySelector('audio').duration > 4"))
        with page.expect_download() as saved:
            page.get_by_role("button", name="Save it").click()
        listen(page)
        job = result_of(page, page_client)
        remembered = remembered_job(page, job["jobId"])
        assert remembered["name"].startswith("Recording of ")
        # The same bytes lie where the page says.
        download = page_client.post("/v1/media/output", url=remembered["source"]).json()["url"]
        assert page.request.get(download).body() == saved.value.path().read_bytes()
    others = {who: sorted(DATA.glob(f"{who}-*.flac"))[1] for who in (DOMINANT, OTHER)}
    scores = {
        who: voiceprint(job).score(page_client.voiceprint(page_client.upload(file.name, file.read_bytes())))
        for who, file in others.items()
    }
    assert scores[DOMINANT] > scores[OTHER] + 0.1


def test_a_recording_ends_by_itself_after_30_seconds(driver: Playwright, address: str, tmp_path: Path) -> None:
    with speaking(driver, address, CLIP, tmp_path) as page:
        page.clock.install()
        page.get_by_role("button", name="Record").click()
        expect(page.get_by_role("timer")).to_have_text(re.compile("^0:(1.|2[0-8]) left$"))
        page.clock.fast_forward(30_000)
        expect(page.locator(".given")).to_contain_text("0:30")
        assert page.evaluate(RELEASED)


def test_leaving_the_view_gives_the_microphone_back_and_keeps_what_was_recorded(
    driver: Playwright, address: str, tmp_path: Path
) -> None:
    with speaking(driver, address, CLIP, tmp_path) as page:
        page.get_by_role("button", name="Record").click()
        expect(page.get_by_role("timer")).to_have_text(re.compile(r"^0:([01]\d|2[0-8]) left$"))
        page.get_by_role("link", name="Compare").click()
        eventually(lambda: page.evaluate(RELEASED))
        page.get_by_role("link", name="Listen", exact=True).click()
        expect(page.get_by_role("button", name="Discard, record again")).to_be_visible()


def test_a_microphone_that_is_refused_or_missing_is_a_sentence_with_a_way_on(signed_in: OpenPage) -> None:
    page = signed_in()
    page.get_by_role("button", name="Record").click()
    expect(page.get_by_role("alert").filter(has_text="choose a file")).to_be_visible()
    page.get_by_role("button", name="Record").click()
    expect(page.get_by_role("button", name="Record")).to_be_enabled()


def test_a_page_of_plain_http_elsewhere_says_why_it_cannot_record(address: str, browser: Browser) -> None:
    with opened(browser, address.split("#")[0]) as page:
        page.add_init_script("Object.defineProperty(navigator, 'mediaDevices', {value: undefined})")
        page.goto(address)
        page.reload()
        expect(page.get_by_role("button", name="Record")).to_be_disabled()
        expect(page.get_by_role("alert").filter(has_text="https:// pages and to localhost only")).to_be_visible()


def test_a_chosen_file_is_followed_step_by_step_to_who_speaks_when(signed_in: OpenPage, page_client: Client) -> None:
    page = signed_in()
    page.evaluate(NOTE_STEPS)
    choose(page, "Zoë & Söhne <b>.flac", CONVERSATION.read_bytes())
    expect(page.locator(".given")).to_contain_text("Zoë & Söhne <b>.flac")
    expect(page.locator(".given")).to_contain_text("0:27")
    page.get_by_label("Who speaks when").check()
    page.get_by_text("Options").click()
    page.get_by_label("How many people speak").fill("2")
    listen(page)
    job = result_of(page, page_client)
    assert {"Sending the recording", "Asking Timbre to listen"} < set(page.evaluate("[...steps]"))
    assert {turn["speaker"] for turn in job["output"]["diarization"]} == {"SPEAKER_00", "SPEAKER_01"}
    assert all("confidence" in turn for turn in job["output"]["diarization"])
    assert job["output"]["confidence"]["resolution"] == 0.02


def test_a_file_is_dropped_anywhere_and_a_second_one_of_the_same_name_does_not_replace_it(
    signed_in: OpenPage, page_client: Client
) -> None:
    page = signed_in()
    sources = []
    for _ in range(2):
        content = base64.b64encode(CLIP.read_bytes()).decode()
        page.get_by_role("heading", level=1).evaluate(DROP, {"name": CLIP.name, "content": content})
        expect(page.locator(".given")).to_contain_text("0:04")
        listen(page)
        job = result_of(page, page_client)
        sources.append(remembered_job(page, job["jobId"])["source"])
    assert sources[0] != sources[1]
    assert all(source.endswith(f"/{CLIP.name}") for source in sources)


def test_an_address_is_fetched_by_the_service_and_its_job_opens_again(
    signed_in: OpenPage, page_client: Client, host: AudioHost
) -> None:
    page = signed_in()
    page.get_by_label("Or paste its address").fill("ftp://there")
    page.get_by_role("button", name="Use it").click()
    expect(page.get_by_role("alert").filter(has_text="begins with https://")).to_be_visible()
    page.get_by_label("Or paste its address").fill(host.serve("clip.flac", CLIP.read_bytes()) + "?secret=1")
    page.keyboard.press("Enter")
    expect(page.locator(".given strong")).to_have_text("clip.flac")
    listen(page)
    job = result_of(page, page_client)
    assert host.hits["/file/clip.flac"] == 1
    page.get_by_role("button", name="Give another voice").click()
    expect(page.get_by_role("button", name="Record")).to_be_focused()
    page.go_back()
    assert result_of(page, page_client) == job
    page.reload()
    assert result_of(page, page_client) == job


def test_people_of_the_shelf_are_named(signed_in: OpenPage, page_client: Client, page_enrolled: dict[str, str]) -> None:
    page = signed_in()
    put_on_shelf(page, [("Ann", page_enrolled[who]) for who in (DOMINANT, OTHER)])
    choose(page, "talk.flac", CONVERSATION.read_bytes())
    page.get_by_label("Who speaks when").check()
    page.get_by_text("Options").click()
    page.get_by_label("Ann", exact=True).check()
    page.get_by_label("Ann (2)").check()
    listen(page)
    job = result_of(page, page_client)
    assert {turn["match"] for turn in job["output"]["identification"]} == {"Ann", "Ann (2)"}


def test_each_channel_is_a_speaker_of_its_own_only_where_that_makes_sense(signed_in: OpenPage) -> None:
    page = signed_in()
    choose(page, "call.flac", (DATA / "field" / "st_full.flac").read_bytes())
    page.get_by_label("A voiceprint of the main speaker").check()
    page.get_by_text("Options").click()
    channels = page.get_by_label("Channels of a stereo recording")
    expect(channels.locator("option")).to_have_count(3)
    page.get_by_role("radio", name=re.compile("^Who speaks when")).check()
    page.get_by_label("How many people speak").fill("2")
    channels.select_option("each")
    expect(page.get_by_label("How many people speak")).to_be_hidden()
    with page.expect_request("**/v1/diarize") as request:
        listen(page)
    sent = request.value.post_data_json
    assert sent.pop("url").endswith("/call.flac")
    assert sent == {"channel": "each", "turnLevelConfidence": True, "confidence": True}


def test_a_running_job_is_canceled_and_what_was_given_is_kept(
    signed_in: OpenPage, page_client: Client, host: AudioHost
) -> None:
    page = signed_in()
    host.serve("talk.flac", CONVERSATION.read_bytes())
    page.get_by_label("Or paste its address").fill(host.url("gated/talk.flac"))
    page.keyboard.press("Enter")
    listen(page)
    expect(step(page, "Fetching the recording")).to_be_focused()
    job_id = page.url.split("/")[-1]
    page.get_by_role("heading", level=1).evaluate(DROP, {"name": "next.flac", "content": ""})
    expect(page.get_by_role("alert").filter(has_text="Wait for its result, or cancel it")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("alert").filter(has_text="Canceled. What you gave is still here.")).to_be_visible()
    assert page_client.job(job_id)["status"] == "canceled"
    host.gate.set()
    page.get_by_role("button", name="Try again").click()
    assert result_of(page, page_client)["status"] == "succeeded"


def test_a_file_whose_upload_is_gone_is_sent_again_by_itself(signed_in: OpenPage, page_client: Client) -> None:
    page = signed_in()
    choose(page, "letter.txt", b"Dear Ann,\n" * 50)
    listen(page)
    expect(page.get_by_role("alert").filter(has_text="The file is text")).to_be_visible()
    (upload,) = uploads(page_client, "/letter.txt")
    assert page_client.send("DELETE", f"/v1/media/{upload.removeprefix('media://')}").status_code == 200
    page.get_by_role("button", name="Try again").click()
    expect(step(page, "Fetching the recording")).to_be_hidden()
    expect(page.get_by_role("alert").filter(has_text="The file is text")).to_be_visible()
    (again,) = uploads(page_client, "/letter.txt")
    assert again != upload


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("Интервью с клиентом.flac", "recording.flac"),
        ("😀.mp3", "recording.mp3"),
        ("Zoë's talk.wav", "Zoe-s-talk.wav"),
        ("../../etc/passwd", "etc-passwd"),
        ("a" * 300 + ".opus", "a" * 100 + ".opus"),
        ("talk", "talk"),
        (".flac", "recording.flac"),
    ],
)
def test_an_upload_keeps_what_an_address_can_hold_of_its_name(name: str, wanted: str, signed_in: OpenPage) -> None:
    made = signed_in().evaluate(UPLOAD_NAME, name)
    assert re.fullmatch(rf"page/[0-9a-f]+/{re.escape(wanted)}", made), made


def test_an_upload_is_canceled_and_nothing_is_stored(signed_in: OpenPage, page_client: Client) -> None:
    page = signed_in()
    throttle(page, bytes_per_s=20_000)
    choose(page, "canceled.flac", CONVERSATION.read_bytes())
    expect(page.locator(".given")).to_contain_text("412.7 kB")
    listen(page)
    expect(page.locator(".figures")).to_contain_text("of 412.7 kB")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("alert").filter(has_text="Canceled.")).to_be_visible()
    expect(page.locator(".given")).to_contain_text("canceled.flac")
    assert not uploads(page_client, "canceled.flac")


def uploads(client: Client, name: str) -> list[str]:
    """Return the addresses of a client's uploads that end so."""
    listed = client.send("GET", "/v1/media?limit=1000").json()["items"]
    return [upload["url"] for upload in listed if upload["url"].endswith(name)]


def throttle(page: Page, bytes_per_s: int) -> None:
    """Slow uploads down."""
    conditions = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_per_s}
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", conditions)


def test_a_file_that_is_no_recording_gets_the_services_sentence_and_another_chance(
    signed_in: OpenPage, page_client: Client
) -> None:
    page = signed_in()
    choose(page, "empty.wav", b"")
    expect(page.get_by_role("alert").filter(has_text="empty.wav is empty")).to_be_visible()
    choose(page, "letter.txt", b"Dear Ann,\n" * 50)
    listen(page)
    problem = page.get_by_role("alert").filter(has_text="The file is text")
    expect(problem).to_be_visible()
    problem.get_by_text("Details").click()
    expect(problem).to_contain_text("not_audio")
    found = re.search(r"job: (\S+)", problem.inner_text())
    assert found
    assert page_client.job(found[1])["output"]["error"] in problem.inner_text()
    page.get_by_role("button", name="Try again").click()
    expect(problem).to_be_visible()
    page.get_by_role("button", name="Take another").click()
    expect(page.get_by_role("button", name="Record")).to_be_focused()


def test_a_voiceprint_of_a_long_recording_is_not_offered_but_who_speaks_when(signed_in: OpenPage) -> None:
    page = signed_in()
    choose(page, "long.wav", silence(31))
    expect(page.get_by_label("A voiceprint of the main speaker")).to_be_disabled()
    expect(page.locator(".wish").first).to_contain_text("it lasts 0:31")
    expect(page.get_by_role("radio", name=re.compile("^Who speaks when"))).to_be_checked()


def test_the_length_of_an_mp3_is_but_a_guess_that_forbids_nothing(signed_in: OpenPage) -> None:
    page = signed_in()
    choose(page, "long.mp3", silence(31))
    expect(page.locator(".given")).to_contain_text("0:31")
    expect(page.get_by_label("A voiceprint of the main speaker")).to_be_enabled()
    expect(page.get_by_role("radio", name=re.compile("^Who speaks when"))).to_be_checked()


def silence(seconds: int) -> bytes:
    """Return a WAV file, 8 kHz and 8 bits."""
    size = 8000 * seconds
    head = b"RIFF%bWAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x40\x1f\0\0\1\0\x08\0data%b"
    return head % ((size + 36).to_bytes(4, "little"), size.to_bytes(4, "little")) + b"\x80" * size


def test_a_key_that_is_unknown_is_a_sentence_above_the_form(open_page: OpenPage) -> None:
    page = open_page("/#key=sk_wrong", expected=["console: .*401"])
    expect(page.get_by_role("alert").filter(has_text="does not know this key")).to_be_visible()
    expect(page.get_by_label("API key")).to_be_visible()
    expect(page.get_by_role("button", name="Record")).to_be_hidden()


#: What Chromium says of a server that is gone, the second where it kept a connection to it.
_GONE = "ERR_(CONNECTION_|SOCKET_NOT_CONNECTED)"
AWAY = [f"console: .*{_GONE}", f"failed: .*{_GONE}"]


def test_a_job_is_followed_on_when_the_api_was_away(
    signed_in: OpenPage, page_stack: Stack, page_client: Client, host: AudioHost
) -> None:
    page = signed_in(expected=AWAY)
    page.get_by_label("Or paste its address").fill(host.serve("talk.flac", CONVERSATION.read_bytes()))
    page.keyboard.press("Enter")
    with paused(process_of(page_stack, "worker")):
        listen(page)
        expect(step(page, "Waiting for a free worker")).to_be_visible()
        with api_away(page_stack):
            expect(page.get_by_role("alert").filter(has_text="cannot be reached")).to_be_visible()
        expect(page.locator("#offline")).to_be_hidden()
    assert result_of(page, page_client)["status"] == "succeeded"


def test_an_upload_begins_again_when_the_api_was_away(
    signed_in: OpenPage, page_stack: Stack, page_client: Client
) -> None:
    page = signed_in(expected=AWAY)
    choose(page, "talk.flac", CONVERSATION.read_bytes())
    with api_away(page_stack):
        listen(page)
        expect(page.get_by_role("alert").filter(has_text="cannot be reached")).to_be_visible()
    assert result_of(page, page_client)["status"] == "succeeded"


def process_of(stack: Stack, name: str) -> Process:
    return next(process for process in stack.processes if process.name == name)


@contextmanager
def paused(process: Process) -> Iterator[None]:
    """Halt a process for the block."""
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


@contextmanager
def api_away(stack: Stack) -> Iterator[None]:
    """Kill the API for the block, at whose end it is restarted."""
    api = process_of(stack, "API")
    api.kill()
    try:
        yield
    finally:
        api.start()


@pytest.mark.parametrize(("scheme", "width"), [("light", 360), ("dark", 1280)])
def test_every_stage_is_accessible_and_fits(scheme: str, width: int, signed_in: OpenPage, host: AudioHost) -> None:
    page = signed_in(scheme=scheme, width=width)
    check(page)
    host.serve("talk.flac", CONVERSATION.read_bytes())
    page.get_by_label("Or paste its address").fill(host.url(f"gated/talk.flac?{'long' * 100}"))
    page.keyboard.press("Enter")
    page.get_by_text("Options").click()
    check(page)
    listen(page)
    expect(step(page, "Fetching the recording")).to_be_visible()
    check(page)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("alert").filter(has_text="Canceled.")).to_be_visible()
    check(page)
    page.get_by_role("button", name="Take another").click()
    choose(page, "long" * 50 + ".flac", CLIP.read_bytes())
    expect(page.locator("audio")).to_be_visible()
    check(page)


def check(page: Page) -> None:
    assert_accessible(page)
    assert_fits(page)


def test_the_requests_that_are_shown_do_the_same_again(
    signed_in: OpenPage, page_client: Client, page_enrolled: dict[str, str], tmp_path: Path
) -> None:
    page = signed_in()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    put_on_shelf(page, [("Ann's", page_enrolled[DOMINANT]), ("Bob", page_enrolled[OTHER])])
    choose(page, "über uns.flac", CONVERSATION.read_bytes())
    page.get_by_label("Who speaks when").check()
    page.get_by_text("Options").click()
    page.get_by_role("checkbox", name="Ann's").check()
    listen(page)
    wanted = result_of(page, page_client)["output"]["identification"]
    assert "Ann's" in {turn["match"] for turn in wanted}
    page.get_by_text("Show me the request").click()
    expect(page.locator(".requests")).to_contain_text("put the recording beside it as über uns.flac")
    (tmp_path / "über uns.flac").write_bytes(CONVERSATION.read_bytes())
    programs = {language: copied(page, language) for language in ("curl", "Python", "JavaScript")}
    assert not [text for text in programs.values() if page_client.key in text]
    key = page_client.key
    assert json.loads(run(["sh", "-ec", programs["curl"]], tmp_path, key))["output"]["identification"] == wanted
    refused = subprocess.run(["sh", "-c", programs["curl"]], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert refused.returncode
    assert "401" in refused.stderr
    printed = run([sys.executable, "-c", programs["Python"]], tmp_path, key)
    assert ast.literal_eval(printed)["output"]["identification"] == wanted
    (tmp_path / "request.mjs").write_text(programs["JavaScript"])
    assert "status: 'succeeded'" in run(["node", "request.mjs"], tmp_path, key)


def copied(page: Page, language: str) -> str:
    """Return the program that the button copies, which is all that a selection of the block has."""
    page.get_by_role("tab", name=language).click()
    panel = page.get_by_role("tabpanel", name=language)
    panel.get_by_role("button", name="Copy").click()
    expect(panel.get_by_role("button", name="Copied")).to_be_visible()
    text: str = page.evaluate("navigator.clipboard.readText()")
    selected = "(block) => { getSelection().selectAllChildren(block); return getSelection().toString(); }"
    assert panel.locator("pre").evaluate(selected) == text
    return text


def run(command: list[str], folder: Path, key: str) -> str:
    """Run a program in a folder; returns what it printed."""
    environment = os.environ | {"SERVICE_KEY": key}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
