"""Where recordings come from, and how large they may be."""

import pytest

from shared.adapters.dir_media import DirMedia
from shared.domain.addresses import AddressRules
from shared.domain.errors import FileTooLarge
from shared.domain.limits import Limits
from shared.domain.sources import parse_source
from worker.egress import Egress
from worker.recordings.fetch import SourceFetcher


@pytest.fixture
def fetcher(tmp_path):
    media = DirMedia(tmp_path / "media", ttl_s=60.0, quota_bytes=10**9)
    media.save("c", "a.wav", [bytes(1000)])
    return SourceFetcher(Egress(rules=AddressRules.parse("80", None)), media, None, tmp_path / "scratch")


def limits(max_bytes):
    return Limits(max_audio_s=30.0, max_bytes=max_bytes, download_timeout_s=1.0)


def test_an_upload_may_be_as_large_as_its_kind_of_job_takes(fetcher):
    with fetcher.fetch("c", parse_source("media://a.wav"), limits(1000)) as file:
        assert len(file.read()) == 1000
    with pytest.raises(FileTooLarge, match="larger than"):
        fetcher.fetch("c", parse_source("media://a.wav"), limits(999))
