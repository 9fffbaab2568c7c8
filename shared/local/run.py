"""`make run`: run the stack in the foreground until Ctrl-C."""

import os
import re
import shlex
import sys
import time

from shared.domain.errors import SettingsError
from shared.local.stack import EMBEDDED, Stack, StackError, Stopped, raise_on_signals
from shared.settings import Settings

#: What differs from the service's own defaults.
_USUAL = {"TIMBRE_REDIS_URL": EMBEDDED, "TIMBRE_PAGE": "true"}
_GREETING = """
Timbre runs at {url}   (logs: {logs}; stop: Ctrl-C)
API key: {key}
{page}
Try it with curl, in another terminal, in this folder:

{lines}
"""
#: The key is in the fragment, which a browser sends nowhere.
_PAGE = """
Open this page to record, see and compare voices:
{address}
"""
_KEY_UNKNOWN = """the one you kept. To make another, with your other TIMBRE_* variables set as they are here:
TIMBRE_DATA_DIR={folder} python3 -m shared.local keys create NAME"""


def curl_lines(url: str, key: str) -> list[str]:
    """Return shell commands that upload a recording, ask for its voiceprint and get the job."""
    headers = f"-H 'Authorization: Bearer {key}' -H 'Content-Type: application/json'"
    source = """-d '{"url":"media://hello"}' | cut -d'"' -f4"""
    return [
        f"curl -T tests/data/conversation.flac $(curl -s {url}/v1/media/input {headers} {source})",
        f"JOB=$(curl -s {url}/v1/voiceprint {headers} {source}); echo $JOB",
        f"curl -s {url}/v1/jobs/$JOB {headers}",
    ]


def _page(stack: Stack, key: str | None) -> str:
    """Return the lines about the page, which is signed in where the key is known; none where it is off."""
    if not stack.settings.page:
        return ""
    # A browser lets a page have the microphone at a loopback address, not at one that means all.
    url = re.sub(r"//(0\.0\.0\.0|\[::\]):", "//127.0.0.1:", stack.url)
    return _PAGE.format(address=f"{url}/#key={key}" if key else f"{url}/")


def _greeting(stack: Stack) -> str:
    key = stack.first_key()
    unknown = _KEY_UNKNOWN.format(folder=shlex.quote(str(stack.settings.data_dir)))
    lines = "\n\n".join(curl_lines(stack.url, key or "YOUR_KEY"))
    page = _page(stack, key)
    return _GREETING.format(url=stack.url, logs=stack.logs, key=key or unknown, page=page, lines=lines)


def watch(stack: Stack) -> None:
    """Check the stack's processes, and rotate their logs.

    A signal ends it (Stopped), and so does the end of a process (StackError).
    """
    while True:
        for process in stack.processes:
            process.check()
            process.rotate()
        time.sleep(0.5)


def main() -> None:
    """Start the stack, print how to use it, and stop it at the end."""
    raise_on_signals()
    try:
        settings = Settings.from_env({**_USUAL, **os.environ})
        print("Starting Redis, the API and a worker ...", flush=True)
        with Stack(settings) as stack:
            print(_greeting(stack), flush=True)
            watch(stack)
    except Stopped:
        print("\nStopped.")
    except (SettingsError, StackError) as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"Timbre cannot use its data folder: {error}. TIMBRE_DATA_DIR names another.")


if __name__ == "__main__":
    main()
