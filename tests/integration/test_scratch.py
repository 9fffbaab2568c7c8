"""Downloads leave the disk its reserve, on a real disk that is nearly full and against a real host."""

import pytest

from shared.adapters.dir_media import RESERVE_BYTES
from shared.domain.addresses import AddressRules
from shared.domain.errors import WorkerUnavailable
from shared.domain.limits import Limits
from shared.domain.sources import parse_source
from tests.support.disks import ROOM_BYTES, enlarge, free_bytes, small_disk
from tests.support.origins import drips, origin
from worker.egress import Egress
from worker.recordings.fetch import SourceFetcher

BLOCK = b"\0" * (1 << 16)
#: More than there is room for.
BODY_BLOCKS = 2 * ROOM_BYTES // len(BLOCK)
LIMITS = Limits(max_audio_s=30.0, max_bytes=1 << 30, download_timeout_s=60.0)
EGRESS = Egress(rules=AddressRules.parse("1-65535", "127.0.0.0/8"))


def test_a_download_leaves_the_reserve_free_and_succeeds_when_there_is_room(tmp_path):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (BODY_BLOCKS * len(BLOCK))
    with small_disk(tmp_path / "small") as folder, origin(drips(head, [BLOCK] * BODY_BLOCKS, 0.0)) as host:
        fetcher = SourceFetcher(EGRESS, media=None, buckets=None, scratch=folder / "scratch")
        source = parse_source(f"http://127.0.0.1:{host.port}/a.wav")
        for _ in range(2):
            with pytest.raises(WorkerUnavailable, match=r"512 MiB free.* Try again later\.") as caught:
                fetcher.fetch("c", source, LIMITS)
            assert caught.value.passing
        # The last chunk may have gone below it.
        assert free_bytes(folder) > RESERVE_BYTES - len(BLOCK)
        enlarge(folder)
        with fetcher.fetch("c", source, LIMITS) as file:
            assert len(file.read()) == BODY_BLOCKS * len(BLOCK)
