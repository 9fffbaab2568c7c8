"""What people send in place of a recording, and the sentence that each gets."""

import gzip
import io
import tarfile
import zipfile

import pytest

from shared.domain.errors import NotAudio
from tests.support import sounds
from worker.recordings import sniff
from worker.recordings.av_reader import open_sound
from worker.recordings.decoder import _SENTENCES, ProcessDecoder
from worker.recordings.decoder_protocol import Refusal, Refused

CLIP = sounds.read(sounds.DATA / "3080-5032-0003.flac")[:1000]
WAV = sounds.encode(CLIP, "wav")


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("recording.mp3", sounds.encode(CLIP, "mp3"))
    return file.getvalue()


def tarred():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("recording.wav"))
    return file.getvalue()


FOREIGN = {
    "web page": (b"<!DOCTYPE html>\n<html><head><title>Sign in</title>", Refusal.WEB_PAGE),
    "web page, old": (b"\r\n  <HTML><BODY>404 not found</BODY></HTML>", Refusal.WEB_PAGE),
    "web page with a comment": (b"\xef\xbb\xbf<!-- saved -->\n<html lang='de'>\xc3\xbc", Refusal.WEB_PAGE),
    "web page, latin-1": ("<html><title>Zugriff für alle</title>".encode("latin-1"), Refusal.WEB_PAGE),
    "web page, xhtml": (b'<?xml version="1.0"?>\n<!DOCTYPE html><html>', Refusal.WEB_PAGE),
    "json, empty": (b"{}", Refusal.JSON),
    "a word": (b"404", Refusal.TEXT),
    "json": (b'{"error": {"code": "AccessDenied"}}', Refusal.JSON),
    "json list": (b'[\n  {"id": 1}\n]', Refusal.JSON),
    "xml": (b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", Refusal.TEXT),
    "playlist": (b"#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1/a.mp3\n", Refusal.TEXT),
    "text": ("Grüße, die Aufnahme kommt später.\n".encode() * 300, Refusal.TEXT),
    "text, utf-16": ("The recording is late.".encode("utf-16"), Refusal.TEXT),
    "base64": (b"UklGRiQAAABXQVZFZm10IBAAAAABAAEA" * 40, Refusal.TEXT),
    "zip": (zipped(), Refusal.ZIP),
    "tar": (tarred(), Refusal.COMPRESSED),
    "gzip": (gzip.compress(WAV), Refusal.COMPRESSED),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", Refusal.PDF),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(64), Refusal.IMAGE),
    "jpeg": (b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(64), Refusal.IMAGE),
    "webp": (b"RIFF\x24\0\0\0WEBPVP8 " + bytes(64), Refusal.IMAGE),
    "heic": (b"\0\0\0\x18ftypheic" + bytes(64), Refusal.IMAGE),
    "multipart": (
        b'--x7\r\nContent-Disposition: form-data; name="file"\r\nContent-Type: audio/wav\r\n\r\n'
        + WAV
        + b"\r\n--x7--\r\n",
        Refusal.MULTIPART,
    ),
    "wavpack": (b"wvpk\x20\0\0\0" + bytes(64), Refusal.OTHER_FORMAT),
    "dictation": (b"\x02dss" + bytes(600), Refusal.OTHER_FORMAT),
    "a byte": (b"\0", Refusal.NOT_AUDIO),
    "random": (bytes(range(1, 200, 7)) * 9, Refusal.NOT_AUDIO),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_recording_is_called_by_its_name(name):
    content, refusal = FOREIGN[name]
    with pytest.raises(Refused) as refused:
        open_sound(io.BytesIO(content), 30.0)
    assert refused.value.refusal is refusal


def test_each_refusal_has_a_sentence_of_its_own():
    # Those of the two others hold figures of the recording.
    plain = set(Refusal) - {Refusal.TOO_LONG, Refusal.NO_CHANNEL}
    told = {refusal: _SENTENCES[refusal] for refusal in plain}
    assert len(set(told.values())) == len(told)
    assert all("; " in sentence or ": " in sentence or "must" in sentence for sentence in told.values())


def test_a_sentence_reaches_the_client(tmp_path):
    (path := tmp_path / "page").write_bytes(FOREIGN["web page"][0])
    decoder = ProcessDecoder()
    with path.open("rb") as file, pytest.raises(NotAudio, match="is a web page"):
        decoder.decode(file, 30.0)
    decoder.stop()


@pytest.mark.parametrize("codec", sounds.CODECS)
def test_every_container_is_known_by_its_first_bytes(codec):
    head = sounds.encode(CLIP, codec)[: sniff.HEAD_BYTES]
    assert sniff.container(head)
    assert sniff.refusal(head) is None
