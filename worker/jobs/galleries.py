"""Galleries of spaces in a worker's memory: loaded at the first search, then only what changed since."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from shared.domain.models import ModelCard
from shared.domain.search import Entry, Gallery, SearchResult, merged, search
from shared.domain.voiceprints import Voiceprint
from shared.ports import EnrolmentStore

#: Voiceprints that are read from the database at once.
_BATCH = 2000
#: Bytes of a voiceprint in memory beside its vector: ids, places, captures.
_OVERHEAD_BYTES = 500
_FLOAT_BYTES = 4
#: Seconds for which a gallery that nobody searches is kept.
IDLE_S = 600.0
#: Looks for idle galleries in that time.
_ROUNDS = 5


@dataclass(eq=False)
class _Cached:
    """Gallery of a space as it was at a version."""

    gallery: Gallery
    version: int
    #: Version of each enrolment in it.
    index: dict[str, int] = field(default_factory=dict)
    used_at: float = 0.0


class Galleries:
    """Galleries of the spaces that were searched last, within `most_bytes` in all; for one searching thread.

    A space larger than that is read from the database in parts for each search: slower, and as exact.
    """

    def __init__(self, enrolments: EnrolmentStore, card: ModelCard, most_bytes: int, *, idle_s: float = IDLE_S) -> None:
        self._enrolments = enrolments
        self._card = card
        self._most_bytes = most_bytes
        self._idle_s = idle_s
        #: By space, the one used last at the end.
        self._kept: OrderedDict[str, _Cached] = OrderedDict()
        self._watched = False
        self._lock = threading.Lock()

    def spaces(self) -> list[str]:
        """Return the ids of the spaces whose galleries are in memory."""
        with self._lock:
            return list(self._kept)

    def search(self, space_id: str, probe: Voiceprint, *, limit: int, least_confidence: int) -> SearchResult:
        """Return the candidates for a voice among all identities of a space as it is now; raises InvalidVoiceprint."""
        # Read before the index: what changes in between is looked at again by the next search.
        version = self._enrolments.gallery_version(space_id)
        cached = self._take(space_id)
        if cached is None or cached.version != version:
            index = self._enrolments.gallery_index(space_id, self._card.model_id)
            if not self._make_room(self._bytes_of(len(index))):
                return self._search_in_parts(list(index), probe, limit=limit, least_confidence=least_confidence)
            cached = self._refreshed(cached or _Cached(self._empty(), 0), index, version)
        found = search(cached.gallery, probe, limit=limit, least_confidence=least_confidence)
        self._put_back(space_id, cached)
        return found

    def drop_idle(self) -> None:
        """Drop the galleries that nobody searched for a while."""
        since = time.monotonic() - self._idle_s
        with self._lock:
            for space_id in [space_id for space_id, kept in self._kept.items() if kept.used_at <= since]:
                del self._kept[space_id]

    def _take(self, space_id: str) -> _Cached | None:
        """Take a gallery out while it is changed: one whose change breaks off is not used again."""
        with self._lock:
            return self._kept.pop(space_id, None)

    def _put_back(self, space_id: str, cached: _Cached) -> None:
        cached.used_at = time.monotonic()
        with self._lock:
            self._kept[space_id] = cached
            if not self._watched:
                self._watch()
                self._watched = True

    def _make_room(self, size: int) -> bool:
        """Drop the galleries that were used least recently until so many bytes fit in; False where they never do."""
        if size > self._most_bytes:
            return False
        with self._lock:
            while size + sum(self._bytes_of(len(kept.gallery)) for kept in self._kept.values()) > self._most_bytes:
                self._kept.popitem(last=False)
        return True

    def _watch(self) -> None:
        timer = threading.Timer(self._idle_s / _ROUNDS, self._look)
        timer.daemon = True
        timer.start()

    def _look(self) -> None:
        """Drop what is idle; look again later, as long as there is something left."""
        self.drop_idle()
        with self._lock:
            self._watched = bool(self._kept)
            watched = self._watched
        if watched:
            self._watch()

    def _refreshed(self, cached: _Cached, index: dict[str, int], version: int) -> _Cached:
        """Bring a gallery up to date: only what was added or computed since is read."""
        for enrolment_id in cached.index.keys() - index.keys():
            cached.gallery.remove(enrolment_id)
        changed = [one for one, number in index.items() if cached.index.get(one) != number]
        for batch in _batches(changed, _BATCH):
            entries = self._entries(batch)
            cached.gallery.put(entries)
            # What was deleted since the index was read.
            for enrolment_id in set(batch) - {entry.key for entry in entries}:
                cached.gallery.remove(enrolment_id)
        return _Cached(cached.gallery, version, index)

    def _search_in_parts(
        self, enrolment_ids: Sequence[str], probe: Voiceprint, *, limit: int, least_confidence: int
    ) -> SearchResult:
        rows = max(1, self._most_bytes // self._bytes_of(1))
        found = []
        for part in _batches(enrolment_ids, rows):
            gallery = self._empty()
            for batch in _batches(part, _BATCH):
                gallery.put(self._entries(batch))
            found.append(search(gallery, probe, limit=len(part), least_confidence=0))
        return merged(found, limit=limit, least_confidence=least_confidence)

    def _entries(self, enrolment_ids: Sequence[str]) -> list[Entry]:
        model_id = self._card.model_id
        rows = self._enrolments.gallery_rows(enrolment_ids)
        # One may have been recomputed under another model since the index was read.
        return [
            Entry(key=row.enrolment_id, identity=row.identity.id, voiceprint=row.voiceprint)
            for row in rows
            if row.voiceprint.model_id == model_id
        ]

    def _empty(self) -> Gallery:
        return Gallery(self._card.model_id, self._card.dimension, self._card.calibration)

    def _bytes_of(self, num_rows: int) -> int:
        return num_rows * (self._card.dimension * _FLOAT_BYTES + _OVERHEAD_BYTES)


def _batches(ids: Sequence[str], size: int) -> Iterator[list[str]]:
    left = iter(ids)
    while batch := list(islice(left, size)):
        yield batch
