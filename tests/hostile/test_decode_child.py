"""The process that reads hostile files: what it can still do, and what it does with files made to harm."""

import io
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np
import pytest

from shared.domain.errors import AudioTooLong, NotAudio, WorkerLost
from tests.hostile import fuzz_decode
from tests.support import sounds
from tests.support.client import eventually
from tests.support.origins import ok, origin, says
from worker.jobs.heartbeat import LeaseLostError
from worker.recordings import decoder as decoder_module
from worker.recordings.decoder import DecodeHelper, ProcessDecoder
from worker.recordings.decoder_protocol import REPORT, Refusal

CLIP = sounds.DATA / "3080-5032-0003.flac"
#: Has a secret in memory, forks, and the child writes, as JSON, what it still managed to do when it was confined; then
#: it waits to be looked at. Both are of one user, as in a container.
ATTEMPTS = """
import ctypes, json, os, resource, socket, sys
from worker.recordings.sandbox import MEMORY_BYTES, confine, leave_network
"loaded".encode("idna")
file = open(sys.argv[1], "r+b", buffering=0)
libc = ctypes.CDLL(None, use_errno=True)
secret, seen = ctypes.create_string_buffer(b"a secret"), ctypes.create_string_buffer(8)
class Part(ctypes.Structure):
    _fields_ = (("at", ctypes.c_void_p), ("length", ctypes.c_size_t))
here, there = (ctypes.byref(Part(ctypes.addressof(buffer), 8)) for buffer in (seen, secret))
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    libc.prctl(4, 1, 0, 0, 0)
victim = os.getpid()
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
isolated = leave_network()
pipe = os.dup(1)
confine()

def attempt(action):
    try:
        action()
    except (OSError, MemoryError, ValueError, RuntimeError):
        return False
    return True

def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)

def fork():
    if os.fork() == 0:
        os._exit(0)

done = {
    "open": attempt(lambda: open("/etc/hostname")),
    "make": attempt(lambda: open("/tmp/made-by-a-confined-process", "w")),
    "write": attempt(lambda: file.write(b"x")),
    "dial": attempt(lambda: socket.create_connection(("127.0.0.1", int(sys.argv[2])))),
    "socket": attempt(socket.socket),
    "pipe": attempt(os.pipe),
    "run": attempt(lambda: os.posix_spawn("/bin/true", ["true"], {})),
    "fork": attempt(fork),
    "signal": attempt(lambda: os.kill(victim, 0)),
    # What was mapped and is free again since may be used once more, so the very last megabytes are not certain.
    "memory": attempt(lambda: bytearray(MEMORY_BYTES + 16 * 1024 * 1024)),
    "more files": attempt(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9))),
    "read": attempt(lambda: file.read(1)),
}
if sys.platform == "linux":
    done["look"] = attempt(lambda: call("process_vm_readv", victim, here, 1, there, 1, 0))
    done["debug"] = attempt(lambda: call("ptrace", 0x4206, victim, 0, 0))
os.write(pipe, json.dumps([isolated, done]).encode() + b"\\n")
os.read(0, 1)
os._exit(0)
"""
#: Runs what follows it as most containers do: with unshare refused.
AS_IN_A_CONTAINER = """
import os, sys
from worker.recordings.sandbox import ALLOW, REFUSE, filter_calls
filter_calls([(272, 97)], REFUSE, ALLOW)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
CONTAINER = [sys.executable, "-c", AS_IN_A_CONTAINER, "-c"]
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="macOS has neither")


@pytest.mark.parametrize("start", [[sys.executable, "-c"], pytest.param(CONTAINER, marks=on_linux)])
def test_a_confined_process_can_read_its_file_and_write_its_pipe_and_nothing_else(start, tmp_path):
    recording = tmp_path / "recording"
    recording.write_bytes(b"content")
    with origin(says(ok(b""))) as canary:
        command = [*start, ATTEMPTS, str(recording), str(canary.port)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            isolated, could = json.loads(process.stdout.readline())
            if sys.platform == "linux":
                look_at(process.pid)
            process.communicate()
        assert process.returncode == 0
        assert canary.hits == 0
    linux = sys.platform == "linux"
    assert isolated == (linux and start != CONTAINER)
    assert {name for name, managed in could.items() if managed} <= ({"read"} if linux else {"read", "memory", "signal"})
    assert could["read"]
    assert recording.read_bytes() == b"content"


def look_at(victim):
    """Check, from outside, the limits of a victim's confined child."""
    (child,) = Path(f"/proc/{victim}/task/{victim}/children").read_text().split()
    limits = Path(f"/proc/{child}/limits").read_text()
    assert re.search(r"Max cpu time +10 ", limits)
    assert re.search(r"Max open files +0 ", limits)
    assert re.search(r"Max core file size +0 ", limits)
    status = Path(f"/proc/{child}/status").read_text()
    assert not re.search(r"^Uid:\s+0", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1", status, re.MULTILINE)


@on_linux
def test_where_unshare_is_refused_files_are_decoded_all_the_same():
    code = (
        "from worker.recordings.decoder import ProcessDecoder; decoder = ProcessDecoder(); decoder.start();"
        "helper = decoder._idle;"
        "print(len(decoder.decode(open(0, 'rb'), 30.0).samples), helper.isolated); decoder.stop()"
    )
    with tempfile.TemporaryFile() as file:
        file.write(sounds.encode(sounds.read(CLIP)[:1600], "mp3"))
        file.flush()
        done = subprocess.run([*CONTAINER, code], stdin=file, capture_output=True, text=True, check=True)
    count, isolated = done.stdout.split()[-2:]
    assert int(count) > 6000
    assert isolated == "False"


@pytest.fixture(scope="module")
def decoder():
    decoder = ProcessDecoder()
    yield decoder
    decoder.stop()


def decode(decoder, content):
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        return decoder.decode(file, 30.0)


def test_the_decoder_knows_nothing_of_our_environment(decoder):
    decode(decoder, sounds.encode(sounds.read(CLIP)[:200], "wav"))
    (helper,) = children()
    environment = (helper / "environ").read_bytes().split(b"\0")
    assert {line.partition(b"=")[0] for line in environment} <= {
        b"OPENBLAS_NUM_THREADS",
        b"OMP_NUM_THREADS",
        b"LC_CTYPE",
        b"",
    }
    # Standard streams, the socket to us, and what Python itself holds open.
    assert len(list((helper / "fd").iterdir())) <= 6


def children():
    if not Path("/proc/self").exists():
        pytest.skip("needs /proc")
    found = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [
        path for path in (Path("/proc") / pid for pid in found) if b"decoder_child" in (path / "cmdline").read_bytes()
    ]


def silence(seconds, rate, codec, container):
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        block = np.zeros((1, rate * 10), np.int16)
        for _ in range(seconds // 10):
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            frame.sample_rate = rate
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize(
    ("codec", "container", "rate", "seconds"), [("flac", "flac", 16_000, 3600), ("libopus", "ogg", 48_000, 600)]
)
def test_a_long_silence_in_few_bytes_costs_no_more_than_half_a_minute_of_it(
    codec, container, rate, seconds, decoder, tmp_path
):
    (path := tmp_path / "bomb").write_bytes(silence(seconds, rate, codec, container))
    assert path.stat().st_size < 15_000_000
    heard = 0
    with path.open("rb") as file, decoder.stream(file, 30.0) as stream, pytest.raises(AudioTooLong):
        for block in stream.blocks:
            heard += len(block)
    assert heard <= 31 * 16_000


def test_not_a_number_never_becomes_sound(decoder):
    wav = bytearray(sounds.encode(sounds.read(CLIP)[:1000], "wav-float"))
    for position, value in zip(
        range(2000, 20_000, 40), [float("nan"), float("inf"), -float("inf"), 1e38] * 200, strict=False
    ):
        wav[position : position + 4] = struct.pack("<f", value)
    samples = decode(decoder, bytes(wav)).samples
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() <= 1


def test_a_movie_that_refers_to_another_file_does_not_show_it(decoder, tmp_path):
    canary = fuzz_decode.tone(tmp_path / "canary.wav")
    movie = bytearray(sounds.encode(sounds.read(CLIP)[:1000], "m4a"))
    place = movie.find(b"url \0\0\0\1")
    assert place > 0
    # The data reference loses its "in this very file" flag and gains an address.
    movie[place : place + 8] = b"url \0\0\0\0"
    address = f"file://{canary}".encode() + b"\0"
    grown = len(address)
    movie[place + 8 : place + 8] = address
    for box in (b"url ", b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        at = movie.rfind(box, 0, place + 1) - 4
        movie[at : at + 4] = struct.pack(">I", struct.unpack(">I", movie[at : at + 4])[0] + grown)
    try:
        samples = decode(decoder, bytes(movie)).samples
    except NotAudio:
        return
    spectrum = np.abs(np.fft.rfft(samples))
    assert abs(np.argmax(spectrum) / len(spectrum) * np.pi - 0.4) > 0.02


def test_a_file_that_takes_too_long_is_given_up_and_the_next_one_is_decoded():
    before = children()
    hasty = ProcessDecoder(wall_s=0.0)
    with pytest.raises(NotAudio, match="too long"):
        decode(hasty, sounds.encode(sounds.read(CLIP), "mp3"))
    assert children() == before
    patient = ProcessDecoder()
    assert decode(patient, sounds.encode(sounds.read(CLIP)[:500], "mp3")).duration_s > 0.4
    patient.stop()


@pytest.mark.parametrize("taken", [0, 1])
def test_whoever_leaves_a_recording_early_leaves_no_process_behind(taken, tmp_path):
    before = children()
    path = tmp_path / "long.flac"
    path.write_bytes(silence(600, 16_000, "flac", "flac"))
    decoder = ProcessDecoder()
    with path.open("rb") as file, decoder.stream(file, 7200.0) as stream:
        (helper,) = set(children()) - set(before)
        for _ in range(taken):
            next(stream.blocks)
    assert children() == before
    eventually(lambda: not group_lives(int(helper.name)))
    with path.open("rb") as file:
        assert decoder.decode(file, 7200.0).duration_s == 600.0
    decoder.stop()


def group_lives(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def new_helper(before):
    """Return the process of the one helper that was started since."""
    (helper,) = set(children()) - set(before)
    return int(helper.name)


def test_an_idle_helper_that_was_killed_is_replaced_and_no_file_notices():
    before = children()
    decoder = ProcessDecoder()
    clip = sounds.encode(sounds.read(CLIP)[:500], "wav")
    for _ in range(3):
        assert decode(decoder, clip).duration_s > 0.4
        helper = new_helper(before)
        os.kill(helper, signal.SIGKILL)
        eventually(lambda helper=helper: not alive(helper))
    decoder.stop()
    assert children() == before


@pytest.mark.parametrize("message", ["ready", "report"])
def test_a_helper_that_an_interrupt_parted_from_its_message_is_not_used_again(message, monkeypatch):
    size = {"ready": 1, "report": REPORT.size}[message]
    receive = DecodeHelper._receive

    def interrupted(helper, count, seconds):
        received = receive(helper, count, seconds)
        if count == size:
            monkeypatch.undo()
            raise LeaseLostError
        return received

    monkeypatch.setattr(DecodeHelper, "_receive", interrupted)
    decoder = ProcessDecoder()
    with pytest.raises(LeaseLostError):
        decode(decoder, CLIP.read_bytes())
    assert decode(decoder, CLIP.read_bytes()).duration_s > 1
    decoder.stop()


@pytest.mark.parametrize("whom", ["helper", "child"])
def test_when_a_decoder_is_killed_the_file_is_not_blamed_and_the_next_one_is_decoded(whom, tmp_path):
    before = children()
    decoder = ProcessDecoder()
    clip = sounds.encode(sounds.read(CLIP)[:500], "wav")
    decode(decoder, clip)
    victim = helper = new_helper(before)
    path = tmp_path / "long.flac"
    path.write_bytes(silence(600, 16_000, "flac", "flac"))
    # What the pipe holds is still read.
    with path.open("rb") as file, pytest.raises(WorkerLost), decoder.stream(file, 7200.0) as stream:
        next(stream.blocks)
        if whom == "child":
            (victim,) = map(int, Path(f"/proc/{helper}/task/{helper}/children").read_text().split())
        os.kill(victim, signal.SIGKILL)
        list(stream.blocks)
    assert decode(decoder, clip).duration_s > 0.4
    decoder.stop()


#: Decodes "files" that compute for ever and crash, in children whose limit of processor time is a second.
OWN_FAULTS = """
import ctypes, math, os, socket
from worker.recordings import decoder_child, sandbox
from worker.recordings.decoder_protocol import REPORT
def write_sound(*_):
    crash and ctypes.string_at(0)
    while True:
        pass
decoder_child.CPU_S = 1
decoder_child.write_sound = write_sound
for crash in (False, True):
    files = os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_WRONLY)
    print(*REPORT.unpack(decoder_child._decode(socket.socket(), *files, 0.0)))
"""


@on_linux
def test_what_a_file_does_to_its_decoder_is_told_from_what_others_do():
    done = subprocess.run([sys.executable, "-c", OWN_FAULTS], capture_output=True, text=True, check=True)
    ends = [int(line.split()[0]) for line in done.stdout.splitlines()]
    assert ends == [-signal.SIGXCPU, -signal.SIGSEGV]
    assert all(isinstance(decoder_module._failure(end, 30.0), NotAudio) for end in ends)
    assert isinstance(decoder_module._failure(-signal.SIGKILL, 30.0), WorkerLost)


def test_a_helper_ends_with_the_process_that_started_it():
    code = (
        "from worker.recordings.decoder import DecodeHelper; import os;"
        "h = DecodeHelper(); print(h._process.pid); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    eventually(lambda: not alive(int(done.stdout)))


@pytest.mark.parametrize("end", ["socket", "interrupt"])
def test_a_helper_that_is_stopped_leaves_no_traceback(end):
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "worker.recordings.decoder_child", str(theirs.fileno())]
    with theirs:
        helper = subprocess.Popen(command, env={}, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE)
    with ours:
        if end == "interrupt":
            ours.recv(1)
            helper.send_signal(signal.SIGINT)
    assert helper.communicate(timeout=60)[1] == b""
    assert helper.returncode == 0


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout


def test_five_hundred_damaged_files_harm_nobody():
    figures = fuzz_decode.run(500, seed=0)
    print(vars(figures))
    assert figures.files > 500
    assert figures.decoded > 100
    assert figures.refused > 100
    assert not figures.children_ended
    assert figures.worker_deaths == 0
    assert figures.over_wall == 0
    assert figures.foreign == figures.canary_hits == 0
    assert figures.max_rss_mib <= 300


def test_a_film_with_subtitles_is_heard(decoder):
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        sound = output.add_stream("flac", rate=16_000, layout="mono")
        output.add_stream("vorbis", rate=16_000, layout="stereo", options={"strict": "experimental"})
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 16_000
        frame.pts = 0
        output.mux([*sound.encode(frame), *sound.encode(None)])
    film = bytearray(file.getvalue())
    # The second track becomes one of subtitles: its codec, and its type (RFC 9559, 5.1.4.1.3).
    at = film.index(b"A_VORBIS")
    film[at : at + 8] = b"S_VOBSUB"
    kind = max(film.rfind(b"\x83\x81\x02", 0, at), film.find(b"\x83\x81\x02", at))
    film[kind + 2] = 0x11
    with av.open(io.BytesIO(bytes(film))) as container:
        assert [stream.type for stream in container.streams] == ["audio", "subtitle"]
    assert decode(decoder, bytes(film)).duration_s == pytest.approx(1.0, abs=0.05)


@on_linux
def test_a_file_that_takes_too_much_memory_is_told_so(tmp_path):
    path = tmp_path / "long.wav"
    path.write_bytes(sounds.encode(sounds.lasting(sounds.read(CLIP), 120.0), "wav"))
    # The limit of a whole recording is far away, so a nearer one is set.
    code = (
        "import os, sys; from worker.recordings import decoder_child, sandbox; decoder_child._warm_up();"
        "sandbox.MEMORY_BYTES = 1 << 22; file = os.open(sys.argv[1], os.O_RDONLY);"
        "decoder_child._work(file, os.open(os.devnull, os.O_WRONLY), 3600.0)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert ended.returncode == Refusal.MEMORY
