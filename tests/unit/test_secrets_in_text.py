import json
import subprocess
import sys

import pytest

from shared.domain.addresses import HttpUrl
from shared.domain.commands import CreateVoiceprint, from_record, to_record

PRESIGNED = "https://b.example/k?X-Amz-Signature=canary#canary"


def test_an_address_is_whole_for_those_who_use_it_and_shows_no_query_to_those_who_read_it():
    url = HttpUrl.parse(PRESIGNED)
    assert url.text == PRESIGNED
    assert url.target == "/k?X-Amz-Signature=canary"
    for text in (str(url), repr(url), f"{url}", f"{[url]}", "%s" % url, "%r" % (url,)):  # noqa: UP031
        assert "canary" not in text
        assert "https://b.example/k?..." in text
    assert str(HttpUrl.parse("https://b.example/k")) == "https://b.example/k"


def test_a_command_does_not_show_its_address_and_survives_its_record():
    command = CreateVoiceprint(source=HttpUrl.parse(PRESIGNED))
    assert "canary" not in repr(command)
    record = json.loads(json.dumps(to_record(command)))
    assert record["url"] == PRESIGNED
    assert "canary" not in repr(from_record(record))


@pytest.mark.parametrize(
    "said",
    [
        "GET https://b.example/k?X-Amz-Signature=canary HTTP/1.1",
        "url: /k?token=canary",
        "Authorization: Bearer canary",
        "Authorization: Basic canary",
        "sk_canary012345678901234567890",
        "gk_canary012345678901234567890",
        "bt_eyJrIjoi-_canary.canary",
        "whsec_canary0123456789+/=",
        "https://user:canary@b.example/",
        "Pool(host='b', port=80): Max retries exceeded with url: /k?a=b&X-Amz-Signature=canary (Caused by",
    ],
)
def test_what_a_library_says_is_logged_without_its_secrets(said):
    code = (
        "import logging, sys; from shared import logs; logs.configure('info');"
        "log = logging.getLogger('library'); log.warning(sys.argv[1]); log.warning('%s', sys.argv[1]);"
        "\ntry: raise ValueError(sys.argv[1])\nexcept ValueError: log.exception('failed')"
    )
    done = subprocess.run([sys.executable, "-c", code, said], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert len(lines) == 3
    assert "canary" not in done.stderr
