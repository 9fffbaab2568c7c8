"""Nobody waits for those who ask for much: neither behind their many jobs nor behind their long ones."""

from shared.local.stack import Stack
from tests.support.client import Client, eventually, voiceprint
from tests.support.ledger import Ledger, keep
from tests.support.servers import NAME, AudioHost, gated
from tests.support.sounds import DATA
from tests.support.stacks import LOOPBACK, first_client, make_client, running


def test_a_clip_does_not_wait_for_long_jobs(client: Client, stranger: Client, host: AudioHost) -> None:
    url = gated(host)
    long = [client.post("/v1/diarize", url=url).json()["jobId"] for _ in range(4)]
    eventually(lambda: host.hits[f"/gated/{NAME}"])
    voiceprint(stranger.run(host.url(f"file/{NAME}")))
    assert {client.job(job_id)["status"] for job_id in long} == {"running", "created"}
    host.gate.set()
    assert {client.wait(job_id)["status"] for job_id in long} == {"succeeded"}


def test_one_job_of_a_client_waits_for_one_of_another_who_has_hundreds(tmp_path, host: AudioHost) -> None:
    url = host.serve(NAME, (DATA / NAME).read_bytes())
    with running(tmp_path, worker_processes=2, **LOOPBACK) as stack:
        keep(stack.settings.redis_url)
        greedy = first_client(stack)
        modest = make_client(stack, "modest")
        theirs = [greedy.submit("media://nothing" if n else url) for n in range(300)]
        mine = modest.run(url)["jobId"]
        eventually(lambda: greedy.send("GET", "/readyz").json()["jobsWaiting"] == 0)
    ledger = Ledger.read(tmp_path / "redis")
    created_at = next(change.at for change in ledger.changes if change.job_id == mine)
    (claimed_at,) = ledger.claims(mine)
    before = [job_id for job_id in theirs if created_at < ledger.claims(job_id)[0] < claimed_at]
    assert len(before) <= 1 + stack.settings.worker_processes


def test_processes_that_may_all_run_long_jobs_take_turns_between_the_lanes(tmp_path, host: AudioHost) -> None:
    url = gated(host)
    with running(tmp_path, worker_processes=2, long_processes=2, **LOOPBACK) as stack:
        client = first_client(stack)
        held = [client.post("/v1/diarize", url=url).json()["jobId"] for _ in range(2)]
        eventually(lambda: all(client.job(job_id)["status"] == "running" for job_id in held))
        clip = host.url(f"file/{NAME}")
        long = [client.post("/v1/diarize", url=clip).json()["jobId"] for _ in range(10)]
        short = client.submit(clip)
        host.gate.set()
        ended = [client.wait(job_id) for job_id in (*long, short)]
    assert {job["status"] for job in ended} == {"succeeded"}
    assert ended[-1]["updatedAt"] < max(job["updatedAt"] for job in ended[:-1])


def test_a_lone_process_takes_turns_between_the_lanes(small: Client, small_stack: Stack, host: AudioHost) -> None:
    held = small.post("/v1/diarize", url=gated(host)).json()["jobId"]
    eventually(lambda: host.hits[f"/gated/{NAME}"])
    long = small.post("/v1/diarize", url=host.url(f"file/{NAME}")).json()["jobId"]
    short = small.submit(host.url(f"file/{NAME}"))
    host.gate.set()
    done = [small.wait(job_id) for job_id in (held, short, long)]
    assert [job["status"] for job in done] == ["succeeded"] * 3
    assert done[1]["updatedAt"] < done[2]["updatedAt"]
