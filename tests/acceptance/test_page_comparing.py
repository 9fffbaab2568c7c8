"""Views "Compare" and "History" of the page: a shelf of voices, their comparison, jobs, and deletion with receipts."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from shared.domain.voiceprints import Voiceprint
from shared.local.stack import Stack
from tests.support.browser import assert_accessible, assert_fits
from tests.support.client import Client, eventually
from tests.support.servers import AudioHost, gated
from tests.support.sounds import DATA
from tests.support.stacks import make_client

ANN, ANN_AGAIN, BOB = "1688-142285-0005", "1688-142285-0008", "3080-5032-0000"
#: Puts a voice on the shelf as the view "Listen" does: with the recording that it comes from.
REMEMBER = """async ([name, voiceprint, source]) => {
  const memory = await import('/static/common/memory.js');
  memory.addVoice({name, voiceprint, model: 'ge2e@1', calibrated: true, seconds: 5, from: 'a call', source});
}"""
#: Remembers that jobs are of one recording, as the view "Listen" does.
NOTE = """async ([jobs, source]) => {
  const memory = await import('/static/common/memory.js');
  for (const job of jobs) memory.noteJob(job, {source, name: 'shared.flac'});
}"""
BAR = """async (confidence) => {
  const {confidenceBar} = await import('/static/common/bar.js');
  const bar = confidenceBar(confidence);
  return [bar.textContent, bar.querySelectorAll('.track').length];
}"""

Open = Callable[..., Page]


def upload(client: Client, stem: str) -> str:
    return client.upload(f"{stem}.flac", (DATA / f"{stem}.flac").read_bytes())


@pytest.fixture(scope="module")
def voices(page_client: Client) -> dict[str, str]:
    """Voiceprints of two recordings of Ann and one of Bob, by the recording."""
    made = {stem: page_client.submit(upload(page_client, stem)) for stem in (ANN, ANN_AGAIN, BOB)}
    return {stem: page_client.wait(job_id)["output"]["voiceprint"] for stem, job_id in made.items()}


@pytest.fixture
def compare(signed_in: Open) -> Open:
    """Open the view "Compare"."""

    def compare(**options: object) -> Page:
        page = signed_in(**options)
        page.get_by_role("link", name="Compare", exact=True).click()
        return page

    return compare


@pytest.fixture(scope="module")
def tidy(page_stack: Stack) -> Client:
    """Another client, of whom the tests know every job."""
    return make_client(page_stack, "tidy")


@pytest.fixture
def history(open_page: Open) -> Callable[[Client], Page]:
    """Open the view "History", signed in as a client."""

    def history(client: Client) -> Page:
        page = open_page(f"/#key={client.key}")
        page.get_by_role("link", name="History").click()
        return page

    return history


def paste(page: Page, name: str, voiceprint: str) -> None:
    """Put a voiceprint on the shelf as text."""
    if not page.get_by_label("Voiceprint", exact=True).is_visible():
        page.locator("summary", has_text="Add a voiceprint").click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Voiceprint", exact=True).fill(voiceprint)
    page.get_by_role("button", name="Add to the shelf").click()


def shelf(page: Page) -> Locator:
    return page.locator(".voices h3")


def verdict(page: Page) -> Locator:
    return page.locator(".verdict")


def stock(page: Page, voices: dict[str, str]) -> None:
    """Put the three voices on the shelf."""
    for name, stem in (("Ann", ANN), ("Bob", BOB), ("Ann again", ANN_AGAIN)):
        paste(page, name, voices[stem])
    expect(shelf(page)).to_have_text(["Ann again", "Bob", "Ann"])


def row(page: Page, text: str) -> Locator:
    return page.locator(".jobs > li", has_text=text)


def test_one_person_twice_is_no_stranger_and_two_people_are(
    compare: Open, page_client: Client, voices: dict[str, str]
) -> None:
    page = compare()
    expect(page.get_by_role("link", name="Listen to a recording")).to_have_attribute("href", "#/listen")
    stock(page, voices)
    # The newest two are compared without a question.
    expect(verdict(page)).to_have_text(re.compile(r"^[0-4]?\d of 100: (more|most) likely somebody else$"))
    expect(page.get_by_text("No mark accepts it.")).to_be_visible()
    page.get_by_label("with", exact=True).select_option("Ann")
    expect(page.get_by_role("heading", name="Ann again and Ann")).to_be_visible()
    expect(verdict(page)).to_have_text(re.compile(r"^9\d of 100: (rarely|hardly ever) a stranger$"))
    expect(page.get_by_role("list", name="Marks").get_by_role("listitem")).to_have_text(
        ["balanced 50", "strict 90", "strictest 99"]
    )
    expect(page.locator("#announcer")).to_contain_text("Ann again and Ann: 9")
    answer = page_client.post("/v1/compare", voiceprints=[voices[ANN_AGAIN], voices[ANN]]).json()
    expect(verdict(page).locator("strong")).to_have_text(str(answer["confidence"]))


def test_the_shelf_shows_what_another_tab_puts_there(
    compare: Open, page_stack: Stack, page_client: Client, voices: dict[str, str]
) -> None:
    page = compare()
    other = page.context.new_page()
    other.goto(f"{page_stack.url}/#key={page_client.key}")
    expect(other.get_by_role("heading", name="Hear who speaks")).to_be_visible()
    other.evaluate(REMEMBER, ["Ann", voices[ANN], None])
    expect(shelf(page)).to_have_text(["Ann"])
    other.close()


def test_one_voice_is_compared_with_the_whole_shelf(compare: Open, voices: dict[str, str]) -> None:
    page = compare()
    stock(page, voices)
    page.get_by_role("button", name="Compare Ann with all").click()
    expect(page.get_by_role("heading", name="Ann and the whole shelf")).to_be_visible()
    ranking = page.locator(".ranking li")
    expect(ranking).to_have_text([re.compile(r"^Ann again9\d of"), re.compile(r"^Bob[0-4]?\d of")])
    expect(page.locator("#announcer")).to_contain_text("The most alike is Ann again")
    page.get_by_role("button", name="Bob: see it alone").click()
    expect(page.get_by_role("heading", name="Ann and Bob")).to_be_visible()
    # An address leads to the same.
    voice_id = page.locator(".voices > li", has_text="Bob").get_attribute("data-voice")
    page.goto(f"{page.url.split('#')[0]}#/compare/{voice_id}")
    expect(page.get_by_role("heading", name="Bob and the whole shelf")).to_be_visible()
    expect(ranking).to_have_count(2)


def test_the_shelf_is_kept_by_keyboard_and_survives_a_reload(
    compare: Open, voices: dict[str, str], tmp_path: Path
) -> None:
    page = compare()
    file = {"name": "bob.voiceprint.txt", "mimeType": "text/plain", "buffer": f"{voices[BOB]}\n".encode()}
    page.locator("summary", has_text="Add a voiceprint").press("Enter")
    page.get_by_label("From files").set_input_files([file])  # type: ignore[list-item]
    expect(shelf(page)).to_have_text(["bob"])
    page.get_by_label("Name", exact=True).focus()
    page.keyboard.type("<b>Ann</b>")
    page.keyboard.press("Tab")
    page.keyboard.insert_text(json.dumps({"output": {"voiceprint": voices[ANN]}}))
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(shelf(page)).to_have_text(["<b>Ann</b>", "bob"])
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    page.get_by_role("button", name="Rename bob").press("Enter")
    expect(page.get_by_label("Name of the voice")).to_be_focused()
    page.keyboard.type("Bob")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Rename Bob")).to_be_focused()
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save Bob as a file").press("Enter")
    saving.value.save_as(tmp_path / "saved")
    assert saving.value.suggested_filename == "Bob.voiceprint.txt"
    assert (tmp_path / "saved").read_text().strip() == voices[BOB]
    page.reload()
    expect(shelf(page)).to_have_text(["<b>Ann</b>", "Bob"])
    page.get_by_role("button", name="Remove <b>Ann</b>").press("Enter")
    expect(page.get_by_role("button", name="Keep", exact=True)).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Remove <b>Ann</b>")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(shelf(page)).to_have_text(["Bob"])
    expect(page.get_by_role("button", name="Remove Bob")).to_be_focused()


def test_what_cannot_be_compared_is_told_in_a_sentence(compare: Open, voices: dict[str, str]) -> None:
    page = compare(expected=["console: .*status of 400"])
    paste(page, "Nobody", "hello")
    expect(page.get_by_role("alert").get_by_text("There is no voiceprint in it")).to_be_visible()
    page.get_by_label("Voiceprint", exact=True).fill(voices[ANN][:-8])
    page.get_by_role("button", name="Add to the shelf").click()
    expect(page.get_by_role("alert").get_by_text("cut off or damaged")).to_be_visible()
    paste(page, "Ann", voices[ANN])
    paste(page, "Other model", replace(Voiceprint.decode(voices[BOB]), model_id="other@1").encode())
    expect(page.locator(".result").get_by_role("alert")).to_contain_text("other@1")
    expect(verdict(page)).to_have_count(0)
    paste(page, "Bob", voices[BOB])
    page.get_by_label("with", exact=True).select_option("everyone else on the shelf")
    expect(page.locator(".ranking li")).to_have_text([re.compile("^Ann")])
    expect(page.locator(".result .error")).to_contain_text("Other model: ")


def test_a_model_without_calibration_says_so_and_every_range_has_its_words(compare: Open) -> None:
    page = compare()
    text, bars = page.evaluate(BAR, None)
    assert "not calibrated" in text and bars == 0
    said = {confidence: page.evaluate(BAR, confidence) for confidence in (0, 9, 10, 49, 50, 89, 90, 98, 99)}
    assert all(bars == 1 for _, bars in said.values())
    words = [re.match(r"\d+ of 100: ([a-z ]+?)balanced", text)[1] for text, _ in said.values()]  # type: ignore[index]
    assert words == [
        *["most likely somebody else"] * 2,
        *["more likely somebody else"] * 2,
        *["more likely the same person"] * 2,
        *["rarely a stranger"] * 2,
        "hardly ever a stranger",
    ]


def test_people_of_the_service_are_compared_and_searched(
    compare: Open, page_client: Client, voices: dict[str, str]
) -> None:
    enrolled = page_client.post("/v1/enrol", identity="ann", name="Ann of the service", url=upload(page_client, ANN))
    assert page_client.wait(enrolled.json()["jobId"])["status"] == "succeeded"
    page = compare()
    page.evaluate(REMEMBER, ["Caller", voices[ANN_AGAIN], f"media://{ANN_AGAIN}.flac"])
    page.evaluate(REMEMBER, ["Stranger", voices[BOB], f"media://{BOB}.flac"])
    expect(page.get_by_role("heading", name="People of this service")).to_be_visible()
    page.get_by_label("Compare", exact=True).select_option("Caller")
    page.get_by_label("with", exact=True).select_option("Ann of the service")
    expect(page.get_by_role("heading", name="Caller and Ann of the service")).to_be_visible()
    expect(verdict(page)).to_have_text(re.compile(r"^9\d of 100: (rarely|hardly ever) a stranger$"))
    page.get_by_role("button", name="Search the people").click()
    expect(page.locator(".search strong").first).to_have_text("The most likely of 1 person: ann.")
    expect(page.locator(".search .ranking li")).to_have_text([re.compile(r"^ann[5-9]\d of 100: ")])
    page.get_by_label("Compare", exact=True).select_option("Stranger")
    page.get_by_role("button", name="Search the people").click()
    expect(page.locator(".search strong").first).to_have_text("Nobody of 1 person fits.")


def test_who_was_enrolled_long_ago_is_shown_on_demand_and_can_be_chosen(open_page: Open, page_stack: Stack) -> None:
    client = make_client(page_stack, "many")
    enrolled = client.post("/v1/enrol", identity="first", name="First of all", url=upload(client, ANN))
    assert client.wait(enrolled.json()["jobId"])["status"] == "succeeded"
    for number in range(101):
        assert client.post("/v1/identities", handle=f"person-{number}").status_code == 201
    page = open_page(f"/#key={client.key}")
    page.get_by_role("link", name="Compare", exact=True).click()
    people, more = page.locator(".people li"), page.get_by_role("button", name="Show more people")
    option = page.get_by_label("with", exact=True).locator("option", has_text="First of all")
    expect(people).to_have_count(100)
    expect(option).to_have_count(0)
    more.press("Enter")
    expect(people).to_have_count(102)
    expect(people.nth(100)).to_be_focused()
    expect(more).to_be_hidden()
    expect(option).to_have_count(1)
    page.get_by_role("link", name="History").click()
    page.get_by_role("link", name="Compare", exact=True).click()
    expect(people).to_have_count(102)
    expect(option).to_have_count(1)


def test_the_people_shown_are_those_of_the_space_that_was_chosen_last(open_page: Open, page_stack: Stack) -> None:
    client = make_client(page_stack, "spaces")
    for space, name in (("calls", "Cal"), ("default", "Dee")):
        enrolled = client.post("/v1/enrol", identity=name, name=name, space=space, url=upload(client, ANN))
        assert client.wait(enrolled.json()["jobId"])["status"] == "succeeded"
    page = open_page(f"/#key={client.key}", expected=["console: .*ERR_CONNECTION_FAILED", "failed: .*_FAILED"])
    page.get_by_role("link", name="Compare", exact=True).click()
    people, spaces = page.locator(".people"), page.get_by_label("Space", exact=True)
    expect(people).to_contain_text("Dee")
    held: list[Route] = []
    page.route("**/v1/identities?*space=calls", lambda route: held.append(route))
    spaces.select_option("calls")
    eventually(lambda: page.evaluate("1") and held)
    page.route("**/v1/identities?*space=default", lambda route: route.abort("connectionfailed"))
    spaces.select_option("default")
    problem = page.locator("section .error", has_text="cannot be reached")
    expect(problem).to_be_visible()
    with page.expect_response("**/v1/identities?*space=calls"):
        held[0].continue_()
    expect(problem).to_be_visible()
    expect(people).to_have_count(0)
    page.unroute_all()
    spaces.select_option("calls")
    expect(people).to_contain_text("Cal")


def test_the_history_asks_no_more_when_its_user_signed_out(
    history: Callable[[Client], Page], page_client: Client, host: AudioHost
) -> None:
    page_client.submit(gated(host))
    page = history(page_client)
    page.clock.install()
    with page.expect_response("**/v2/jobs?*"):
        page.reload()
        page.get_by_role("link", name="History").click()
    expect(page.locator(".jobs .chip", has_text="Running")).to_be_visible()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_role("button", name="Sign out").click()
    page.clock.run_for(10_000)
    page.wait_for_load_state("networkidle")
    assert [url for url in asked if "/v2/jobs" in url] == []


def test_the_history_lists_jobs_in_words_by_status_and_page_by_page(
    history: Callable[[Client], Page], tidy: Client
) -> None:
    tidy.run(upload(tidy, ANN))
    tidy.wait(tidy.post("/v1/diarize", url=upload(tidy, "conversation")).json()["jobId"])
    page = history(tidy)
    voiceprint, diarize = row(page, "Voiceprint"), row(page, "Who speaks when")
    expect(voiceprint).to_contain_text(re.compile(rf"{ANN}\.flac.*(just now|minutes? ago).*0:04.*Done"))
    expect(diarize).to_contain_text(re.compile(r"conversation\.flac.*0:\d\d.*Done"))
    expect(diarize.locator("time")).to_have_attribute("title", re.compile(r"\d{4}"))
    for _ in range(21):
        tidy.send("POST", f"/v1/jobs/{tidy.submit('https://nothing.invalid/x.wav')}/cancel")
    page.reload()
    expect(page.locator(".jobs > li")).to_have_count(20)
    page.get_by_role("button", name="Show more").press("Enter")
    expect(page.locator(".jobs > li")).to_have_count(23)
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()
    page.get_by_label("Show", exact=True).select_option("Done")
    expect(page.locator(".jobs > li")).to_have_count(2)
    page.get_by_label("Show", exact=True).select_option("Failed")
    expect(page.get_by_text("No such job.")).to_be_visible()
    page.get_by_label("Show", exact=True).select_option("All")
    page.get_by_role("button", name="Show more").click()
    diarize.get_by_role("button", name="Open").click()
    expect(page).to_have_url(re.compile(r"#/listen/[0-9a-f-]{36}$"))


def test_a_running_job_is_canceled_and_one_is_deleted_with_its_receipt(
    history: Callable[[Client], Page], page_client: Client, host: AudioHost
) -> None:
    recording = (DATA / f"{ANN}.flac").read_bytes()
    job_id = page_client.run(page_client.upload("deleted.flac", recording))["jobId"]
    running = page_client.submit(gated(host))
    page = history(page_client)
    page.get_by_role("button", name=re.compile("^Cancel ")).press("Enter")
    expect(page.locator(".jobs .chip", has_text="Canceled")).to_be_visible()
    assert page_client.job(running)["status"] == "canceled"
    page.get_by_role("button", name=re.compile("^Delete .*deleted.flac")).press("Enter")
    page.get_by_role("button", name="Delete", exact=True).press("Enter")
    expect(page.get_by_role("heading", name="Deleted, with this receipt")).to_be_focused()
    receipt = page.locator(".receipts li")
    expect(receipt).to_contain_text(job_id)
    expect(receipt.locator("dt")).to_have_text(["SHA-256 of the result", "SHA-256 of the recording"])
    expect(receipt.locator("dd").last).to_have_text(hashlib.sha256(recording).hexdigest())
    expect(row(page, "deleted.flac")).to_have_count(0)
    assert page_client.send("GET", f"/v1/jobs/{job_id}").status_code == 404


def test_a_recording_stays_until_the_last_of_its_results_is_deleted(
    history: Callable[[Client], Page], page_client: Client
) -> None:
    source = page_client.upload("shared.flac", (DATA / f"{ANN}.flac").read_bytes())
    older, newer = (page_client.run(source)["jobId"] for _ in range(2))
    page = history(page_client)
    page.evaluate(NOTE, [[older, newer], source])
    for job_id, question, status in (
        (newer, "The recording stays", 201),
        (older, "With its result and recording?", 404),
    ):
        page.get_by_role("button", name=re.compile("^Delete .*shared.flac")).first.click()
        expect(page.locator(".asking")).to_contain_text([question])
        page.get_by_role("button", name="Delete", exact=True).click()
        expect(page.locator(".receipts")).to_contain_text(job_id)
        assert page_client.post("/v1/media/output", url=source).status_code == status


def test_everything_is_deleted_with_receipts_that_can_be_saved(
    history: Callable[[Client], Page], tidy: Client, host: AudioHost, voices: dict[str, str], tmp_path: Path
) -> None:
    done = tidy.run(upload(tidy, ANN))["jobId"]
    enrolled = tidy.post("/v1/enrol", identity="ann", space="calls", url=upload(tidy, ANN_AGAIN))
    assert tidy.wait(enrolled.json()["jobId"])["status"] == "succeeded"
    upload(tidy, BOB)
    running = tidy.submit(gated(host))
    eventually(lambda: host.hits)
    page = history(tidy)
    page.evaluate(REMEMBER, ["Ann", voices[ANN], None])
    page.get_by_role("button", name="Delete everything …").press("Enter")
    dialog = page.get_by_role("dialog", name="Delete everything?")
    expect(dialog.get_by_text("1 voice of this browser: Ann")).to_be_visible()
    expect(dialog.get_by_label("Type “delete” to confirm")).to_be_focused()
    assert_accessible(page)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Delete everything …").press("Enter")
    page.keyboard.type("delet")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("button", name="Delete everything")).to_be_disabled()
    expect(dialog.get_by_role("checkbox")).not_to_be_checked()
    dialog.get_by_role("checkbox").press("Space")
    dialog.get_by_label("Type “delete” to confirm").press("End")
    page.keyboard.type("e")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Everything is deleted")).to_be_focused()
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save the receipts").press("Enter")
    saving.value.save_as(tmp_path / "receipts.json")
    record = json.loads((tmp_path / "receipts.json").read_text())
    assert record["errors"] == [] and not record["stopped"]
    assert {done, running} <= {receipt.get("jobId") for receipt in record["receipts"]}
    assert f"media://{BOB}.flac" in {receipt.get("url") for receipt in record["receipts"]}
    assert [receipt["removed"]["identities"] for receipt in record["receipts"] if "spaceId" in receipt] == [1]
    assert record["receipts"][-1] == {"voices": 1}
    expect(page.locator(".receipts > li")).to_have_count(len(record["receipts"]))
    expect(page.get_by_text("Nothing yet.")).to_be_visible()
    assert tidy.send("GET", "/v2/jobs").json()["items"] == []
    assert tidy.send("GET", "/v1/media").json()["items"] == []
    assert tidy.send("GET", "/v1/space?space=calls").status_code == 404
    assert page.evaluate("localStorage.length") == 0


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_both_views_are_accessible_and_fit(scheme: str, width: int, compare: Open, voices: dict[str, str]) -> None:
    page = compare(scheme=scheme, width=width, reduced_motion=True)
    stock(page, voices)
    page.get_by_text("What does the number say?").click()
    expect(verdict(page)).to_be_visible()
    assert_accessible(page)
    assert_fits(page)
    page.get_by_role("button", name="Compare Ann with all").click()
    expect(page.locator(".ranking li")).to_have_count(2)
    assert_accessible(page)
    assert_fits(page)
    page.get_by_role("link", name="History").click()
    expect(row(page, f"Voiceprint: {BOB}.flac")).to_be_visible()
    page.get_by_role("button", name=f"Delete {BOB}.flac: Voiceprint").click()
    assert_accessible(page)
    assert_fits(page)
