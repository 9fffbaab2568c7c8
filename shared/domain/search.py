"""Search (1:N): candidates for the person behind a voiceprint among all identities of a space, exact.

Confidences are those of naming one of N (`shared/domain/naming.py`): the more people are searched, the lower they are.

All rows are compared: 100,000 voiceprints of 256 dimensions are 100 MB, multiplied by one vector.
"""

import math
import sys
from collections.abc import Iterable, KeysView, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from shared.domain.calibration import Calibration, Captures
from shared.domain.naming import log_weight, percent
from shared.domain.voiceprints import Voiceprint

#: Rows of a block: the space for more is taken block by block, so nothing is copied when a gallery grows. A product
#: of one block leaves its results in the processor's cache.
_BLOCK_ROWS = 8192
#: Voiceprints that are put into a gallery at once: their objects take four times the memory of their rows.
_BATCH = 512
#: Decimals of a value that count when candidates are ranked.
_DECIMALS = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """Voiceprint of an identity in a gallery."""

    #: Name of the voiceprint; unique in the gallery.
    key: str
    #: Whose voice it is; an identity may have several voiceprints.
    identity: str
    voiceprint: Voiceprint


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Identity that may be the person searched for."""

    identity: str
    #: Name of the identity's voiceprint that is nearest to the probe.
    key: str
    #: Cosine of the vectors, -1 to 1.
    score: float
    #: Natural logarithm of p(same speaker) / p(different speakers) of the pair; None if the model is not calibrated.
    llr: float | None
    #: Probability in percent that it is this identity and no other, rounded down; None if the model is not calibrated.
    confidence: int | None


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """Candidates, the best first, and the probability that none of the identities it is."""

    candidates: Sequence[Candidate]
    #: `log_weight` of all identities that were compared; None if the model is not calibrated.
    weight: float | None
    #: Number of identities that were compared.
    searched: int

    @property
    def nobody(self) -> float | None:
        """Return the probability that the person is not enrolled, 0 to 1; None if the model is not calibrated."""
        if self.weight is None:
            return None
        return math.exp(math.log(self.searched) - self.weight) if self.searched else 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class _Rows:
    """Rows of a gallery, as arrays of one length."""

    vectors: NDArray[np.float32]
    lengths: NDArray[np.float32]
    seconds: NDArray[np.float64]
    noise: NDArray[np.float64]
    narrowband: NDArray[np.bool]
    #: Number of each row's identity.
    numbers: NDArray[np.int32]

    @classmethod
    def room(cls, num: int, dimension: int) -> "_Rows":
        """Return room for `num` rows."""
        return cls(
            vectors=np.empty((num, dimension), np.float32),
            lengths=np.empty(num, np.float32),
            seconds=np.empty(num, np.float64),
            noise=np.empty(num, np.float64),
            narrowband=np.empty(num, np.bool),
            numbers=np.empty(num, np.int32),
        )

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in vars(self).values())

    def part(self, chosen: slice | NDArray[np.bool]) -> "_Rows":
        """Return the chosen rows."""
        return _Rows(**{name: array[chosen] for name, array in vars(self).items()})

    def write(self, places: NDArray[np.intp], rows: "_Rows") -> None:
        """Write `rows` to their places."""
        for name, array in vars(self).items():
            array[places] = getattr(rows, name)

    def compared(self, probe: Voiceprint, calibration: Calibration | None) -> NDArray[np.floating]:
        """Return the log-likelihood ratio of each row and the probe; without calibration the cosine."""
        if calibration is None:
            return self.vectors @ probe.vector
        captures = Captures(seconds=self.seconds, noise=self.noise, narrowband=self.narrowband)
        return calibration.llrs(self.vectors, self.lengths, captures, probe)


class _Numbers:
    """Numbers of identities, from 0 on; that of an identity without rows is given to the next one."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.by_name: dict[str, int] = {}
        self._num_rows: list[int] = []
        self._free: list[int] = []

    def take(self, name: str) -> int:
        """Return the number of an identity, and count one row more of it."""
        number = self.by_name.get(name)
        if number is None:
            number = self._new(name)
        self._num_rows[number] += 1
        return number

    def give_back(self, number: int) -> None:
        """Count one row less of an identity, and forget it after the last."""
        self._num_rows[number] -= 1
        if self._num_rows[number] == 0:
            del self.by_name[self.names[number]]
            self.names[number] = ""
            self._free.append(number)

    def _new(self, name: str) -> int:
        if not self._free:
            self._free.append(len(self.names))
            self.names.append("")
            self._num_rows.append(0)
        number = self._free.pop()
        self.names[number] = name
        self.by_name[name] = number
        return number


class Gallery:
    """Voiceprints of one model in memory, ready to be searched; for one thread at a time."""

    def __init__(self, model_id: str, dimension: int, calibration: Calibration | None) -> None:
        self.model_id = model_id
        self.dimension = dimension
        self.calibration = calibration
        self._blocks: list[_Rows] = []
        self._keys: list[str] = []
        self._places: dict[str, int] = {}
        self._numbers = _Numbers()

    @classmethod
    def build(
        cls, model_id: str, dimension: int, entries: Iterable[Entry], calibration: Calibration | None
    ) -> "Gallery":
        """Return a gallery of `entries`, which are read in batches.

        Raises
        ------
        InvalidVoiceprint
            A voiceprint was made by another model.
        """
        gallery = cls(model_id, dimension, calibration)
        gallery.put(entries)
        return gallery

    def __len__(self) -> int:
        """Return the number of voiceprints."""
        return len(self._keys)

    def keys(self) -> KeysView[str]:
        """Return the keys of all voiceprints."""
        return self._places.keys()

    @property
    def num_identities(self) -> int:
        """Number of identities that have a voiceprint."""
        return len(self._numbers.by_name)

    @property
    def nbytes(self) -> int:
        """Bytes of the rows in use and of the names, some percent too low."""
        rows = sum(block.nbytes for block in self._blocks) * len(self) // max(1, len(self._blocks) * _BLOCK_ROWS)
        names = {id(name): sys.getsizeof(name) for name in (*self._keys, *self._numbers.by_name)}
        tables = (self._keys, self._places, self._numbers.names, self._numbers.by_name)
        return rows + sum(names.values()) + sum(map(sys.getsizeof, tables))

    def put(self, entries: Iterable[Entry]) -> None:
        """Add voiceprints; one whose key is there already takes the place of the older.

        Raises
        ------
        InvalidVoiceprint
            A voiceprint was made by another model. Those of earlier batches have been added by then.
        """
        left = iter(entries)
        while batch := list(islice(left, _BATCH)):
            for entry in batch:
                entry.voiceprint.require_model(self.model_id, self.dimension)
            # Of two with one key the last counts.
            self._put(list({entry.key: entry for entry in batch}.values()))

    def remove(self, key: str) -> None:
        """Remove a voiceprint, if it is there; the last row takes its place."""
        place = self._places.pop(key, None)
        if place is None:
            return
        self._numbers.give_back(self._number(place))
        last = self._keys.pop()
        if last != key:
            block, at = divmod(len(self._keys), _BLOCK_ROWS)
            self._write(np.array([place]), self._blocks[block].part(slice(at, at + 1)))
            self._keys[place] = last
            self._places[last] = place

    def compared(self, probe: Voiceprint) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        """Return the log-likelihood ratio of each row and the probe (the cosine without calibration), and identities.

        Identities are numbers here; both arrays are (num_rows,).
        """
        in_use = [
            self._blocks[at // _BLOCK_ROWS].part(slice(len(self) - at)) for at in range(0, len(self), _BLOCK_ROWS)
        ]
        values = [np.empty(0), *(rows.compared(probe, self.calibration) for rows in in_use)]
        return np.concatenate(values), np.concatenate([np.empty(0, np.int32), *(rows.numbers for rows in in_use)])

    def names(self, place: int) -> tuple[str, str]:
        """Return the identity and the key of a row."""
        return self._numbers.names[self._number(place)], self._keys[place]

    def score(self, place: int, probe: Voiceprint) -> float:
        """Return the cosine of a row and the probe."""
        vector = self._blocks[place // _BLOCK_ROWS].vectors[place % _BLOCK_ROWS]
        return float(np.clip(vector @ probe.vector, -1.0, 1.0))

    def _lengths(self, vectors: NDArray[np.float32], captures: Captures) -> NDArray[np.float32]:
        return self.calibration.lengths(vectors, captures) if self.calibration else np.ones(len(vectors), np.float32)

    def _put(self, batch: Sequence[Entry]) -> None:
        vectors = np.stack([entry.voiceprint.vector for entry in batch])
        captures = Captures.of([entry.voiceprint.capture for entry in batch])
        rows = _Rows(
            vectors=vectors,
            lengths=self._lengths(vectors, captures),
            **vars(captures),
            numbers=np.array([self._renumber(entry) for entry in batch], np.int32),
        )
        self._write(np.array([self._place(entry.key) for entry in batch]), rows)

    def _renumber(self, entry: Entry) -> int:
        """Return the number of the entry's identity; the identity that the key had so far loses a row."""
        place = self._places.get(entry.key)
        if place is not None:
            self._numbers.give_back(self._number(place))
        return self._numbers.take(entry.identity)

    def _number(self, place: int) -> int:
        return int(self._blocks[place // _BLOCK_ROWS].numbers[place % _BLOCK_ROWS])

    def _place(self, key: str) -> int:
        """Return the place of the row with this key; a new one is at the end."""
        place = self._places.setdefault(key, len(self._keys))
        if place == len(self._keys):
            self._keys.append(key)
        return place

    def _write(self, places: NDArray[np.intp], rows: "_Rows") -> None:
        while len(self._blocks) * _BLOCK_ROWS < len(self._keys):
            self._blocks.append(_Rows.room(_BLOCK_ROWS, self.dimension))
        for block in np.unique(places // _BLOCK_ROWS):
            here = places // _BLOCK_ROWS == block
            self._blocks[block].write(places[here] % _BLOCK_ROWS, rows.part(here))


def search(gallery: Gallery, probe: Voiceprint, *, limit: int, least_confidence: int) -> SearchResult:
    """Return at most `limit` candidates for the person of `probe`, the best first.

    Parameters
    ----------
    least_confidence : least confidence of a candidate, 0 to 100. It does not count if the model is not calibrated.

    Raises
    ------
    InvalidVoiceprint
        The probe was made by another model.
    """
    probe.require_model(gallery.model_id, gallery.dimension)
    values, numbers = gallery.compared(probe)
    best = np.full(numbers.max(initial=-1) + 1, -np.inf)
    np.maximum.at(best, numbers, values)
    nearest = _nearest(gallery, values, _least(best, limit))[:limit]
    searched = gallery.num_identities
    if gallery.calibration is None:
        found = [_candidate(gallery, place, probe) for place in nearest]
        return SearchResult(candidates=found, weight=None, searched=searched)
    weight = log_weight(best, searched)
    ranked = [_candidate(gallery, place, probe, float(values[place]), weight) for place in nearest]
    sure = [candidate for candidate in ranked if (candidate.confidence or 0) >= least_confidence]
    return SearchResult(candidates=sure, weight=weight, searched=searched)


def merged(parts: Sequence[SearchResult], *, limit: int, least_confidence: int) -> SearchResult:
    """Return the result of a search in several galleries, as if they were one.

    Parameters
    ----------
    parts : results of one probe, each with all its identities, whatever their confidence. An identity may be in
        several: its best voiceprint counts.
    """
    best: dict[str, Candidate] = {}
    for found in chain.from_iterable(part.candidates for part in parts):
        before = best.get(found.identity)
        if before is None or _rank(found) < _rank(before):
            best[found.identity] = found
    nearest = sorted(best.values(), key=_rank)
    searched = len(best)
    if any(part.weight is None for part in parts):
        return SearchResult(candidates=nearest[:limit], weight=None, searched=searched)
    weight = log_weight([_value(one) for one in nearest], searched)
    ranked = [replace(one, confidence=percent(math.exp(_value(one) - weight))) for one in nearest[:limit]]
    sure = [candidate for candidate in ranked if (candidate.confidence or 0) >= least_confidence]
    return SearchResult(candidates=sure, weight=weight, searched=searched)


def _rank(candidate: Candidate) -> tuple[float, str, str]:
    return -round(_value(candidate), _DECIMALS), candidate.identity, candidate.key


def _value(candidate: Candidate) -> float:
    """Return the number by which candidates are ranked."""
    return candidate.score if candidate.llr is None else candidate.llr


def _least(best: NDArray[np.float64], limit: int) -> float:
    """Return the value of the identity whose rank is `limit`."""
    return float(np.partition(best, -limit)[-limit]) if limit < len(best) else -np.inf


def _nearest(gallery: Gallery, values: NDArray[np.float64], least: float) -> list[int]:
    """Return the place of each identity's best row, if its value is `least` or more; the best first.

    Equal values rank by identity and key. The last digits do not count: they depend on a row's place in the product.
    """
    places = np.flatnonzero(values >= least - 10.0**-_DECIMALS).tolist()
    places.sort(key=lambda place: (-round(float(values[place]), _DECIMALS), *gallery.names(place)))
    first: dict[str, int] = {}
    for place in places:
        first.setdefault(gallery.names(place)[0], place)
    return list(first.values())


def _candidate(
    gallery: Gallery, place: int, probe: Voiceprint, llr: float | None = None, weight: float = 0.0
) -> Candidate:
    identity, key = gallery.names(place)
    confidence = None if llr is None else percent(math.exp(llr - weight))
    return Candidate(identity=identity, key=key, score=gallery.score(place, probe), llr=llr, confidence=confidence)
