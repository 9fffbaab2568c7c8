"""One job, from claim to finish."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from shared.domain.audio import Waveform
from shared.domain.commands import Command, CreateVoiceprint, Verify
from shared.domain.errors import InternalError, JobFailure, ModelNotAvailable
from shared.domain.jobs import Claim, Status
from shared.domain.voiceprints import Voiceprint
from shared.ports import JobStore
from shared.wire.native import failed_output, verification_output, voiceprint_output
from worker.pipelines.verify import verify
from worker.pipelines.voiceprint import Nets, make_voiceprint
from worker.ports import Decoder, Fetcher
from worker.steps import Steps

log = structlog.get_logger()


class LeaseLostError(BaseException):
    """The job was canceled, deleted or given to another worker; whatever this one still does counts for nothing."""


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Does jobs, one at a time."""

    jobs: JobStore
    fetcher: Fetcher
    decoder: Decoder
    nets: Nets
    #: Seconds between heartbeats, a fraction of the lease.
    beat_s: float
    #: Called when a heartbeat finds the lease lost, from its thread: makes the work stop before its next step.
    interrupt: Callable[[], None] = lambda: None
    #: Says that this worker must stop now: the job in hand is then handed back.
    stopping: Callable[[], bool] = lambda: False

    def run(self, job_id: str) -> None:
        """Do the job if it is still to be done; a doorbell that rings twice finds nothing the second time."""
        claim = self.jobs.claim(job_id)
        if claim is None:
            return
        with structlog.contextvars.bound_contextvars(job_id=job_id, attempt=claim.attempt):
            try:
                status, output = self._outcome(claim)
                if not self.jobs.finish(claim, status, output):
                    raise LeaseLostError
            except LeaseLostError:
                log.warning("lease lost: the job was canceled, deleted or given to another worker")
            else:
                log.info("job finished", status=status.value, code=output.get("code"), timings=output.get("timings"))

    def _outcome(self, claim: Claim) -> tuple[Status, dict[str, Any]]:
        try:
            with self._beating(claim):
                return Status.SUCCEEDED, self._work(claim)
        except LeaseLostError:
            raise
        except JobFailure as failure:
            return Status.FAILED, failed_output(failure)
        except Exception:
            log.exception("a bug ended the job")
            return Status.FAILED, failed_output(InternalError())

    def _work(self, claim: Claim) -> dict[str, Any]:
        def announce(step: str) -> None:
            if not self.jobs.beat(claim, step):
                raise LeaseLostError

        self._require_model(claim.command.model)
        recipe = _RECIPES[type(claim.command)]
        return recipe(self, claim, claim.command, Steps(announce))

    def make_voiceprint(self, claim: Claim, command: CreateVoiceprint, steps: Steps) -> dict[str, Any]:
        """Do a voiceprint job; returns its output in wire form, as all recipes do."""
        return voiceprint_output(make_voiceprint(self._hear(claim, steps), self.nets, steps))

    def verify(self, claim: Claim, command: Verify, steps: Steps) -> dict[str, Any]:
        """Do a verify job."""
        voiceprint = self._readable(command.voiceprint)
        waveform = self._hear(claim, steps)
        return verification_output(verify(waveform, voiceprint, command.operating_point, self.nets, steps))

    def _hear(self, claim: Claim, steps: Steps) -> Waveform:
        """Get a short recording."""
        with steps("download"):
            file = self.fetcher.fetch(claim.client_id, claim.command.url)
        with file, steps("decode"):
            return self.decoder.decode(file)

    def _readable(self, text: str) -> Voiceprint:
        """Read a voiceprint string before any work is done that it would make useless."""
        voiceprint = Voiceprint.decode(text)
        voiceprint.require_model(self.nets.embedder.card.model_id)
        return voiceprint

    def _require_model(self, handle: str | None) -> None:
        card = self.nets.embedder.card
        if handle not in (None, card.handle, card.model_id):
            raise ModelNotAvailable(f"Model {handle} is not served here; leave `model` out or ask for {card.handle}.")

    @contextmanager
    def _beating(self, claim: Claim) -> Iterator[None]:
        """Keep the lease alive from another thread while the body works; the networks leave it room to run."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(self.beat_s):
                if not self._keeps(claim):
                    self.interrupt()

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _keeps(self, claim: Claim) -> bool:
        """Renew the lease, or hand it back; a Redis that does not answer may do so again before the lease is over."""
        try:
            if self.stopping():
                self.jobs.release(claim)
                return False
            return self.jobs.beat(claim)
        except Exception as error:
            log.warning("heartbeat failed", error=type(error).__name__)
            return True


_RECIPES: dict[type[Command], Callable[..., dict[str, Any]]] = {
    CreateVoiceprint: Runner.make_voiceprint,
    Verify: Runner.verify,
}
