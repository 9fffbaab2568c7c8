"""A recording seen and heard in the page: lanes where people speak, names, channels, voiceprints, exports."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Locator, Page, expect

from models.vad import SileroVad
from shared.domain.audio import Segment
from shared.domain.diarization import Turn
from shared.domain.voiceprints import Voiceprint
from tests.support.browser import assert_accessible, assert_fits, remembered_job
from tests.support.client import Client, Json
from tests.support.conversations import RATE_HZ, at, conversation
from tests.support.sounds import DATA, encode, read
from tests.support.speech import read_clips

#: Who speaks in the conversation.
PEOPLE = ("1688", "2609")
CLOSE_S = 0.5
NOTE_JOB = "async ([jobId, about]) => (await import('/static/common/memory.js')).noteJob(jobId, about)"
#: Leads tests to the sound: its element, and what comes out behind Web Audio.
TAP = """
const { connect } = AudioNode.prototype;
AudioNode.prototype.connect = function (to, ...rest) {
  if (to instanceof AudioDestinationNode) {
    window.tap ??= new AnalyserNode(this.context, { fftSize: 2048 });
    connect.call(this, window.tap, ...rest);
    window.ear = rest[0];
  }
  return connect.call(this, to, ...rest);
};
window.Audio = class extends window.Audio {
  constructor() {
    super();
    window.sound = this;
    this.addEventListener("seeked", () => (window.sought = this.currentTime));
  }
};
window.loudest = async (until) => {
  const samples = new Float32Array(tap.fftSize);
  let most = 0;
  while (sound.currentTime < until && !sound.paused) {
    await new Promise(requestAnimationFrame);
    tap.getFloatTimeDomainData(samples);
    most = Math.max(most, ...samples);
  }
  return most;
};
"""
#: Which of the first two lanes' colours, blue and brown, a column of the timeline has below its waveform.
COLUMN = """(share) => {
  const canvas = document.querySelector(".drawing canvas");
  const x = Math.round(share * (canvas.width - 1));
  const { data } = canvas.getContext("2d").getImageData(x, 0, 1, canvas.height);
  const found = new Set();
  for (let at = 0; at < data.length; at += 4) {
    const [red, , blue, opaque] = data.slice(at, at + 4);
    if (opaque > 200 && Math.abs(red - blue) > 60) found.add(blue > red ? 1 : 2);
  }
  return [...found];
}"""

SHELF = "import('/static/common/memory.js').then((memory) => memory.voices())"
#: Whether peaks are of 8 s in which somebody speaks: those of 8 s, of 3 s, and of 8 s of silence.
ARE_OF = """async () => {
  const { areOf } = await import("/static/result/peaks.js");
  const heard = { audioSeconds: 8, diarization: [{ start: 0, end: 8 }] };
  return [[8, 0.5], [3, 0.5], [8, 0]].map(([seconds, peak]) => areOf([{ seconds, peak }], heard));
}"""
#: What is offered for the voices of a speaker who is heard alone, and of one who is not.
VOICEPRINT_OF = """async () => {
  const { Conversation } = await import("/static/result/conversation.js");
  const { voiceprintOf } = await import("/static/result/voiceprints.js");
  const turn = (speaker, start, end) => ({ speaker, start, end });
  const output = {
    audioSeconds: 9,
    speakers: [{ speaker: "SPEAKER_00", seconds: 9 }, { speaker: "SPEAKER_01", seconds: 2 }],
    diarization: [turn("SPEAKER_00", 0, 9), turn("SPEAKER_01", 3, 5)],
  };
  const listening = { jobId: "", name: "talk", source: "media://talk", output };
  const conversation = new Conversation(listening);
  return conversation.speakers.map((speaker) => voiceprintOf({ listening, conversation }, speaker).textContent);
}"""

Show = Callable[..., Page]


@pytest.fixture(scope="module")
def talk() -> tuple[bytes, list[Turn]]:
    """A conversation of two people as a FLAC file, and who speaks when."""
    clips = [clip for clip in read_clips() if clip.speaker in PEOPLE]
    samples, turns = conversation(clips, SileroVad(), 25.0)
    return _file(samples), turns


@pytest.fixture(scope="module")
def diarized(page_client: Client, talk: tuple[bytes, list[Turn]]) -> Json:
    return _listening(page_client, "talk.flac", talk[0])


@pytest.fixture
def show(signed_in: Callable[..., Page]) -> Show:
    """Open a job from the history of a browser that knows its recording."""

    def show(listening: Json, **options: Any) -> Page:
        page = signed_in(**options)
        page.add_init_script(TAP)
        about = {"source": listening["source"], "name": listening["name"]}
        page.evaluate(NOTE_JOB, [listening["jobId"], about])
        page.evaluate("jobId => { location.hash = `#/listen/${jobId}`; location.reload(); }", listening["jobId"])
        expect(page.get_by_role("heading", name=listening["name"])).to_be_focused()
        return page

    return show


def test_lanes_are_where_people_speak(show: Show, diarized: Json, talk: tuple[bytes, list[Turn]]) -> None:
    page = show(diarized)
    shown, true = _listed(page), talk[1]
    first = true[0].speaker
    named = [Turn(turn.segment, "Speaker 1" if turn.speaker == first else "Speaker 2") for turn in true]
    times_s = np.arange(0.0, diarized["output"]["audioSeconds"], 0.02)
    edges_s = np.array([edge for turn in true for edge in (turn.segment.start_s, turn.segment.end_s)])
    clear = np.abs(times_s[:, None] - edges_s).min(axis=1) > CLOSE_S
    assert clear.mean() > 0.2
    assert np.array_equal(np.array(at(shown, times_s))[clear], np.array(at(named, times_s))[clear])
    expect(_sound(page)).to_have_attribute("aria-valuenow", "0")
    for turn in named:
        share = (turn.segment.start_s + turn.segment.end_s) / 2 / diarized["output"]["audioSeconds"]
        # The names stand above the beginning of the lanes, in the same colours.
        if turn.segment.end_s - turn.segment.start_s > 2 * CLOSE_S and share > 0.12:
            assert page.evaluate(COLUMN, share) == [int(turn.speaker[-1])]


def test_a_new_name_is_everywhere_and_in_the_files(show: Show, diarized: Json) -> None:
    page = show(diarized)
    page.get_by_role("button", name="Rename Speaker 2").click()
    page.keyboard.type('Bea <b>"Ö"</b>, Bo')
    page.keyboard.press("Enter")
    name = 'Bea <b>"Ö"</b>, Bo'
    expect(page.get_by_role("button", name=f"Rename {name}")).to_be_focused()
    expect(page.locator("#announcer")).to_have_text(f"Speaker 2 is now called {name}.")
    expect(page.locator(".turns").get_by_text(name).first).to_be_visible()
    for button, words in (("RTTM", "Bea_<b>'Ö'</b>,_Bo"), ("SRT", "Bea ‹b›"), ("WebVTT", "Bea &lt;b&gt;")):
        assert words in _saved(page, button), button
    assert {turn["speaker"] for turn in json.loads(_saved(page, "JSON"))["turns"]} == {"SPEAKER_00", name}
    assert '"Bea <b>""Ö""</b>, Bo"' in _saved(page, "CSV")


def test_names_of_another_tab_stay_and_subtitles_have_names_as_the_page_shows_them(show: Show, diarized: Json) -> None:
    page = show(diarized)
    for button in ("SRT", "WebVTT"):
        saved = _saved(page, button)
        assert "Speaker 1" in saved and "Speaker 2" in saved, button
        assert "SPEAKER_" not in saved
    assert "SPEAKER_01" in _saved(page, "RTTM")
    page.evaluate(NOTE_JOB, [diarized["jobId"], {"names": {"SPEAKER_00": "Ann"}}])
    page.get_by_role("button", name="Rename Speaker 2").click()
    page.keyboard.type("Bea")
    page.keyboard.press("Enter")
    assert remembered_job(page, diarized["jobId"])["names"] == {"SPEAKER_00": "Ann", "SPEAKER_01": "Bea"}


def test_where_the_browser_reads_the_file_otherwise_it_says_so_and_draws_no_wrong_waveform(
    show: Show, page_client: Client, talk: tuple[bytes, list[Turn]]
) -> None:
    file = io.BytesIO()
    samples, rate_hz = soundfile.read(io.BytesIO(talk[0]))
    soundfile.write(file, samples, rate_hz, format="WAV", subtype="PCM_16")
    # Its header tells of 3 s; browsers believe it, and the service hears all that is there.
    cut = bytearray(file.getvalue())
    size_at = cut.index(b"data") + 4
    cut[size_at : size_at + 4] = (3 * rate_hz * 2).to_bytes(4, "little")
    listening = _listening(page_client, "cut.wav", bytes(cut))
    assert listening["output"]["audioSeconds"] > 10
    page = show(listening)
    expect(page.locator(".note")).to_contain_text("This browser reads the file otherwise than Timbre")
    assert page.evaluate(ARE_OF) == [True, False, False]


def test_a_file_that_breaks_off_is_heard_as_far_as_it_goes_without_a_word_of_doubt(
    show: Show, page_client: Client, talk: tuple[bytes, list[Turn]]
) -> None:
    whole = soundfile.info(io.BytesIO(talk[0])).duration
    listening = _listening(page_client, "half.flac", talk[0][: len(talk[0]) // 2])
    assert listening["output"]["audioSeconds"] < 0.7 * whole
    page = show(listening)
    page.wait_for_function("() => sound.duration > 0")
    page.wait_for_load_state("networkidle")
    expect(page.locator(".note")).to_have_text("")


def test_a_click_hears_from_there_and_one_speaker_is_heard_alone(show: Show, diarized: Json) -> None:
    page = show(diarized)
    seconds = diarized["output"]["audioSeconds"]
    _press(page, 0.5)
    there = f"Math.abs(window.sought - {seconds / 2}) < 0.1"
    page.wait_for_function(f"() => {there} && sound.currentTime > sought && !sound.paused")
    page.get_by_role("button", name="Pause").click()
    _sound(page).press("Home")
    turns = [turn for turn in diarized["output"]["diarization"] if turn["speaker"] == "SPEAKER_01"]
    page.get_by_role("button", name="Hear Speaker 2 alone").click()
    page.wait_for_function(f"() => sound.currentTime >= {turns[0]['start'] - 0.1} && !sound.paused && !sound.seeking")
    expect(page.locator(".turns .heard")).to_contain_text("Speaker 2")
    page.get_by_role("button", name="Stop Speaker 2").click()
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()


def test_the_channels_of_a_call_are_heard_apart(show: Show, page_client: Client) -> None:
    left, right = (np.array(clip.samples) for clip in read_clips() if clip.name.endswith(("5-0005", "5-0000")))
    call = np.zeros((len(left) + len(right), 2), np.float32)
    call[: len(left), 0] = left
    call[len(left) :, 1] = right
    page = show(_listening(page_client, "call.flac", _file(call)))
    share, until_s = (len(left) / len(call) + 0.1, len(left) / RATE_HZ + 2.0)
    heard = {}
    for channel in ("Left", "Right", "Both"):
        page.get_by_role("radio", name=channel).check()
        _press(page, share)
        page.wait_for_function("() => window.tap && !sound.paused && !sound.seeking && sound.currentTime > 0")
        heard[channel] = page.evaluate(f"loudest({until_s})")
    assert heard["Left"] < 0.001
    assert min(heard["Right"], heard["Both"]) > 0.02


def test_each_channel_of_a_call_is_a_lane_and_a_voice_of_its_own(
    signed_in: Callable[..., Page], page_client: Client
) -> None:
    left, right = (np.concatenate([clip.samples for clip in read_clips() if clip.speaker == who]) for who in PEOPLE)
    page = _heard_apart(signed_in(), left, right)
    changes_s = len(left) / RATE_HZ
    for turn in _listed(page):
        assert turn.speaker == (
            "Speaker 1" if (turn.segment.start_s + turn.segment.end_s) / 2 < changes_s else "Speaker 2"
        )
    assert [page.evaluate(COLUMN, share) for share in (0.3, 0.7)] == [[1], [2]]
    expect(page.locator(".speakers .name small")).to_have_text(["channel: left", "channel: right"])
    page.get_by_role("button", name="Hear Speaker 2 alone").click()
    page.wait_for_function(f"() => window.sought > {changes_s - CLOSE_S} && !sound.paused && !sound.seeking")
    assert page.evaluate("window.ear") == 1
    page.get_by_role("button", name="Stop Speaker 2").click()
    assert page.evaluate("window.ear") is None
    with page.expect_request("**/v1/voiceprint") as request:
        page.get_by_role("button", name="Make a voiceprint of Speaker 2").click()
    assert request.value.post_data_json["channel"] == 1
    page.get_by_role("button", name="Put on the shelf").click()
    (kept,) = page.evaluate(SHELF)
    assert kept["name"] == "Speaker 2 of call"
    for who, same in zip(PEOPLE, (False, True), strict=True):
        file = sorted(DATA.glob(f"{who}-*.flac"))[0]
        clean = page_client.run(page_client.upload(file.name, file.read_bytes()))["output"]["voiceprint"]
        answer = page_client.post("/v1/compare", voiceprints=[kept["voiceprint"], clean]).json()
        assert (answer["confidence"] >= 50) == same


def _heard_apart(page: Page, left: Any, right: Any) -> Page:
    """Give the page a call of which each channel is a person, the left one first; returns it with the result."""
    call = np.zeros((len(left) + len(right), 2), np.float32)
    call[: len(left), 0] = left
    call[len(left) :, 1] = right
    file = io.BytesIO()
    soundfile.write(file, call, RATE_HZ, format="WAV")
    page.add_init_script(TAP)
    page.reload()
    recording = {"name": "call.wav", "mimeType": "audio/wav", "buffer": file.getvalue()}
    page.locator("#listen input[type=file]").set_input_files([recording])  # type: ignore[list-item]
    page.get_by_label("Who speaks when").check()
    page.get_by_text("Options").click()
    page.get_by_label("Channels of a stereo recording").select_option("each")
    page.get_by_role("button", name="Listen", exact=True).click()
    expect(page.get_by_role("heading", name="call.wav")).to_be_focused()
    return page


def test_a_voiceprint_of_the_second_speaker_goes_to_the_shelf(
    show: Show, diarized: Json, talk: tuple[bytes, list[Turn]], page_client: Client
) -> None:
    page = show(diarized)
    page.get_by_role("button", name="Make a voiceprint of Speaker 2").click()
    page.get_by_role("button", name="Put on the shelf").click()
    expect(page.get_by_role("button", name="Compare Speaker 2 of talk")).to_be_focused()
    (kept,) = page.evaluate("async () => (await import('/static/common/memory.js')).voices()")
    assert (kept["name"], kept["from"], kept["calibrated"]) == ("Speaker 2 of talk", "talk.flac", True)
    files = {speaker: sorted(DATA.glob(f"{speaker}-*.flac"))[0] for speaker in PEOPLE}
    voices = {who: page_client.voiceprint(page_client.upload(who, file.read_bytes())) for who, file in files.items()}
    first = talk[1][0].speaker
    (second,) = set(PEOPLE) - {first}
    found = Voiceprint.decode(kept["voiceprint"])
    assert found.score(voices[second]) > 0.8 > found.score(voices[first])
    # Opened from the history, the job tells whose voice it is.
    page.get_by_role("link", name="History").click()
    page.get_by_role("button", name="Open Speaker 2 of talk: Voiceprint").click()
    page.get_by_role("button", name="Put on the shelf: Speaker 2 of talk").click()
    again = page.evaluate(SHELF)[-1]
    assert (again["name"], again["voiceprint"]) == ("Speaker 2 of talk", kept["voiceprint"])


def test_a_voiceprint_is_its_own_speakers_not_the_dominant_ones(
    show: Show, page_client: Client, talk: tuple[bytes, list[Turn]]
) -> None:
    source = page_client.upload("talk.flac", talk[0])
    dominant = page_client.wait(page_client.post("/v1/voiceprint", url=source).json()["jobId"])["output"]
    (other,) = {spoken["speaker"] for spoken in dominant["speakers"]} - {dominant["dominantSpeaker"]}
    job = page_client.wait(page_client.post("/v1/voiceprint", url=source, speaker=other).json()["jobId"])
    page = show({"jobId": job["jobId"], "name": "talk.flac", "source": source})
    rows = {speaker: page.locator(f".speakers [data-speaker={speaker}]") for speaker in (other, "SPEAKER_00")}
    assert dominant["dominantSpeaker"] == "SPEAKER_00" != other
    expect(rows["SPEAKER_00"].get_by_role("button", name="Make a voiceprint")).to_be_visible()
    rows[other].get_by_role("button", name="Put on the shelf").click()
    (kept,) = page.evaluate(SHELF)
    assert (kept["name"], kept["voiceprint"]) == ("Speaker 2 of talk", job["output"]["voiceprint"])


def test_a_speaker_who_is_never_heard_alone_is_told_so(signed_in: Callable[..., Page]) -> None:
    told = signed_in().evaluate(VOICEPRINT_OF)
    assert told == ["Make a voiceprint", "Never heard alone, so no voiceprint"]


def test_keys_do_all_of_it(show: Show, diarized: Json) -> None:
    page = show(diarized)
    sound = _sound(page)
    sound.focus()
    page.keyboard.press("PageUp")
    page.keyboard.press("ArrowRight")
    expect(sound).to_have_attribute("aria-valuenow", "11")
    expect(page.locator(".tooltip")).to_contain_text("0:11.0")
    expect(page.get_by_role("button", name="Zoom out")).to_be_disabled()
    page.keyboard.press("+")
    expect(page.get_by_role("button", name="Zoom out")).to_be_enabled()
    page.keyboard.press(" ")
    page.wait_for_function("() => !sound.paused && sound.currentTime > 11")
    page.keyboard.press(" ")
    page.wait_for_function("() => sound.paused")
    page.locator(".turns button").first.press("Enter")
    page.wait_for_function("() => !sound.paused && sought < 1")


def test_two_fingers_zoom_and_one_moves(show: Show, diarized: Json) -> None:
    page = show(diarized, width=360)
    expect(page.get_by_role("button", name="Zoom out")).to_be_disabled()
    touch = _fingers(page)
    touch([(120 - way, 180 + way) for way in range(0, 60, 5)])
    expect(page.get_by_role("button", name="Zoom out")).to_be_enabled()
    assert page.evaluate("sound.paused")
    touch([(150,)])
    page.wait_for_function("() => window.sought > 0")
    before_s = page.evaluate("sought")
    touch([(200 - way,) for way in range(0, 80, 5)])
    touch([(150,)])
    page.wait_for_function(f"() => sought > {before_s} + 1")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_is_accessible_and_fits(scheme: str, width: int, show: Show, diarized: Json) -> None:
    page = show(diarized, scheme=scheme, width=width)
    expect(page.get_by_role("button", name="Rename Speaker 2")).to_be_visible()
    assert_accessible(page)
    assert_fits(page)


def test_what_the_browser_cannot_play_is_told_and_shown_all_the_same(show: Show, page_client: Client) -> None:
    amr = encode(read(DATA / "1688-142285-0005.flac"), "amr")
    page = show(_listening(page_client, "call.amr", amr))
    expect(page.get_by_text("This browser cannot play this kind of file.")).to_be_visible()
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_disabled()
    expect(page.locator(".turns li").first).to_be_visible()


def _listening(client: Client, name: str, file: bytes) -> Json:
    """Return a job that diarized a recording, and where that lies."""
    source = client.upload(name, file)
    answer = client.post("/v1/diarize", url=source, confidence=True, turnLevelConfidence=True)
    job = client.wait(answer.json()["jobId"], 120)
    assert job["status"] == "succeeded", job
    return {
        "jobId": job["jobId"],
        "kind": "diarize",
        "name": name,
        "source": source,
        "output": job["output"],
        "steps": [],
    }


def _file(samples: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE_HZ, format="FLAC")
    return file.getvalue()


def _listed(page: Page) -> list[Turn]:
    """Return the turns as they are listed."""
    rows = page.locator(".turns li").all()
    return [Turn(_segment(row.locator(".when").first), row.locator(".who").inner_text().strip()) for row in rows]


def _segment(when: Locator) -> Segment:
    start, end = when.inner_text().split(" to ")
    return Segment(*(60 * float(minutes) + float(seconds) for minutes, seconds in (t.split(":") for t in (start, end))))


def _sound(page: Page) -> Locator:
    return page.get_by_role("slider", name="Position in the recording")


def _press(page: Page, share: float) -> None:
    """Click in the timeline at a share of its width."""
    box = _sound(page).bounding_box()
    assert box is not None
    _sound(page).click(position={"x": share * box["width"], "y": 40})


def _saved(page: Page, button: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    assert download.value.suggested_filename.startswith("talk.")
    return Path(download.value.path()).read_text()


def _fingers(page: Page) -> Callable[[list[tuple[int, ...]]], None]:
    """Return what puts fingers on the timeline, moves them along places, in pixels from its left, and lifts them."""
    browser = page.context.new_cdp_session(page)
    browser.send("Emulation.setTouchEmulationEnabled", {"enabled": True})

    def touch(places: list[tuple[int, ...]]) -> None:
        _sound(page).scroll_into_view_if_needed()
        box = _sound(page).bounding_box()
        assert box is not None
        for number, xs in enumerate(places):
            points = [{"x": box["x"] + x, "y": box["y"] + 40, "id": finger} for finger, x in enumerate(xs)]
            kind = "touchMove" if number else "touchStart"
            browser.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        browser.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    return touch
