"""The docs: one look with the page, links between the two, and requests tried with the page's key."""

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from shared.local.stack import Stack
from tests.support.browser import assert_accessible, assert_fits
from tests.support.client import Client, eventually
from tests.support.sounds import DATA
from tests.support.stacks import logs

STORED = "sessionStorage.getItem('timbre.key')"
REQUEST_ID = re.compile(r"X-Request-Id: [0-9a-f-]{36}")


def tried(page: Page, name: str) -> Locator:
    """Open the form of an operation."""
    article = page.locator(f"#{name}")
    article.get_by_text("Try it", exact=True).click()
    form = article.get_by_role("form")
    expect(form).to_be_visible()
    return form


def answered(form: Locator) -> Locator:
    """Send the form; returns what the answer is shown in."""
    form.get_by_role("button", name="Send").click()
    answer = form.locator(".answer")
    expect(answer.get_by_role("status")).to_contain_text("ms")
    return answer


def body(answer: Locator) -> dict:
    """Return the JSON that is shown."""
    return json.loads(answer.locator("pre").inner_text())


@pytest.fixture
def docs(signed_in: Callable[..., Page]) -> Callable[..., Page]:
    """Open the docs in a tab that is signed in, by the page's own link."""

    def docs(**options: object) -> Page:
        page = signed_in(**options)
        eventually(lambda: page.evaluate(STORED))
        page.goto(page.url.partition("#")[0] + "docs")
        return page

    return docs


def test_the_models_are_asked_for_with_the_key_of_the_page(docs: Callable[..., Page]) -> None:
    answer = answered(tried(docs(), "list_models"))
    expect(answer.get_by_role("status")).to_contain_text("200")
    expect(answer.get_by_role("status")).to_have_text(re.compile(r"in \d+ ms\. " + REQUEST_ID.pattern))
    assert [model["handle"] for model in body(answer)["models"]]


def test_a_file_is_sent_to_an_address_asked_for_and_a_job_is_made_and_deleted(
    docs: Callable[..., Page], page_client: Client
) -> None:
    page = docs()
    ask = tried(page, "create_media_input")
    ask.get_by_label("Body").fill('{"url": "media://tried"}')
    answer = answered(ask)
    expect(answer.get_by_role("status")).to_contain_text("201")
    send = tried(page, "put_media")
    send.get_by_label("token").fill(body(answer)["url"].rpartition("/")[2])
    send.get_by_label("File").set_input_files(DATA / "1688-142285-0005.flac")
    expect(answered(send).get_by_role("status")).to_contain_text("200")
    make = tried(page, "create_voiceprint")
    make.get_by_label("Body").fill('{"url": "media://tried"}')
    job_id = body(answered(make))["jobId"]
    assert page_client.wait(job_id)["status"] == "succeeded"
    assert delete(page, job_id, "dismiss") == ""
    assert page_client.job(job_id)["status"] == "succeeded"
    assert REQUEST_ID.search(delete(page, job_id, "accept"))
    assert page_client.send("GET", f"/v1/jobs/{job_id}").status_code == 404


def delete(page: Page, job_id: str, decision: str) -> str:
    """Delete a job, and accept or dismiss the question; returns what is then shown."""
    questions = []
    page.once("dialog", lambda dialog: (questions.append(dialog.message), getattr(dialog, decision)()))
    form = page.locator("#delete_job").get_by_role("form")
    form = form if form.count() else tried(page, "delete_job")
    form.get_by_label("job_id").fill(job_id)
    form.get_by_role("button", name="Send").click()
    eventually(lambda: questions)
    assert f"/v1/jobs/{job_id}" in questions[0]
    if decision == "accept":
        expect(form.get_by_role("status")).to_contain_text("200")
    return form.locator(".answer").inner_text()


def test_a_key_can_be_typed_and_every_form_then_has_it(
    open_page: Callable[..., Page], page_client: Client, page_stack: Stack
) -> None:
    page = open_page("/docs")
    models, test = tried(page, "list_models"), tried(page, "test_connection")
    models.get_by_label("API key").fill(page_client.key)
    assert test.get_by_label("API key").input_value() == page_client.key
    assert page.evaluate(STORED) == page_client.key
    test.get_by_label("API key").press("Enter")
    expect(test.get_by_role("status")).to_contain_text("200")
    assert page_client.key not in logs(page_stack)


def test_a_refusal_is_shown_as_the_api_gives_it(docs: Callable[..., Page]) -> None:
    form = tried(docs(expected=["console: .*401"]), "list_models")
    form.get_by_label("API key").fill("sk_wrong")
    answer = answered(form)
    expect(answer.get_by_role("status")).to_contain_text("401")
    assert body(answer)["code"] == "unauthorized"


def test_a_part_of_a_path_that_a_browser_would_take_out_is_not_sent(docs: Callable[..., Page]) -> None:
    page = docs()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    form = tried(page, "get_identity")
    for part in (".", ".."):
        form.get_by_label("identity").fill(part)
        form.get_by_role("button", name="Send").click()
        fault = form.get_by_label("identity").evaluate("input => input.validationMessage")
        assert fault.startswith("A browser takes . and .. out of a path")
    assert not [url for url in requests if "/v1" in url]


def test_an_answer_is_shown_as_text_whatever_is_in_it(docs: Callable[..., Page]) -> None:
    form = tried(docs(expected=["console: .*40"]), "create_voiceprint")
    form.get_by_label("Body").fill('{"url": "<img src=x onerror=alert(1)>"}')
    answer = answered(form)
    assert answer.locator("img").count() == 0
    assert body(answer)["code"] == "invalid_request"


def test_all_of_it_can_be_done_by_keyboard(docs: Callable[..., Page]) -> None:
    page = docs()
    page.locator("#list_models summary", has_text="Try it").focus()
    page.keyboard.press("Enter")
    form = page.locator("#list_models").get_by_role("form")
    expect(form).to_be_visible()
    page.keyboard.press("Tab")
    expect(form.get_by_label("API key")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(form.get_by_role("status")).to_contain_text("200")


def test_every_operation_has_a_form(docs: Callable[..., Page]) -> None:
    page = docs()
    names = page.eval_on_selector_all("article:has(.samples)", "all => all.map(one => one.id)")
    page.eval_on_selector_all("details.call", "all => all.forEach(one => one.open = true)")
    expect(page.locator("details.call form")).to_have_count(len(names))
    assert len(names) > 40


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_docs_are_accessible_and_fit(scheme: str, width: int, docs: Callable[..., Page]) -> None:
    page = docs(scheme=scheme, width=width)
    answered(tried(page, "list_models"))
    assert_accessible(page)
    assert_fits(page)


def test_page_and_docs_have_one_look_and_lead_to_each_other(docs: Callable[..., Page]) -> None:
    page = docs()
    colours = "['--ink', '--back', '--link', '--lane-1'].map(n => getComputedStyle(document.body).getPropertyValue(n))"
    in_docs = page.evaluate(colours)
    assert all(in_docs)
    page.get_by_role("link", name="Record and compare voices").first.click()
    page.wait_for_url(re.compile(r":\d+/(#.*)?$"))
    assert page.evaluate(colours) == in_docs
    page.get_by_role("link", name="API", exact=True).click()
    page.wait_for_url("**/docs")
