"""`make screenshots`: photographs of the page of a running service, with the result of a real conversation on it."""

import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from shared.local.stack import Stack
from tests.support.browser import launched, opened
from tests.support.sounds import DATA
from tests.support.stacks import running

FOLDER = Path(__file__).parents[2] / "api" / "screenshots"
#: Picture -> colours and viewport.
PICTURES = {
    "light": {"scheme": "light", "width": 1120, "height": 760},
    "dark": {"scheme": "dark", "width": 1120, "height": 760},
    "phone": {"scheme": "light", "width": 390, "height": 760},
}
#: Larger ones would make the README slow.
MOST_BYTES = 200_000
#: A conversation takes some seconds.
_RESULT_MS = 60_000


def show_conversation(page: Page) -> None:
    """Give the page a conversation, and wait until it shows who speaks when."""
    page.get_by_label("Recording").set_input_files(DATA / "conversation.flac")
    page.get_by_role("radio", name="Who speaks when").check()
    page.get_by_role("button", name="Listen", exact=True).click()
    expect(page.get_by_role("region", name="Timeline")).to_be_visible(timeout=_RESULT_MS)
    page.wait_for_load_state("networkidle")


def take(stack: Stack, folder: Path) -> None:
    """Take every picture of a stack with the page, into a folder."""
    folder.mkdir(exist_ok=True)
    address = f"{stack.url}/#key={stack.first_key()}"
    with sync_playwright() as driver, launched(driver) as browser:
        for name, options in PICTURES.items():
            with opened(browser, address, reduced_motion=True, **options) as page:
                show_conversation(page)
                page.screenshot(path=folder / f"{name}.png", animations="disabled")


def main() -> None:
    """Start a service, and photograph its page."""
    with tempfile.TemporaryDirectory() as data, running(Path(data), page=True) as stack:
        take(stack, FOLDER)
    for path in sorted(FOLDER.glob("*.png")):
        size = path.stat().st_size
        assert size <= MOST_BYTES, f"{path.name} has {size} bytes: make its viewport smaller"
        print(f"{path.name}: {size} bytes")


if __name__ == "__main__":
    main()
