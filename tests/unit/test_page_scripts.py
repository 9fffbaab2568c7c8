"""Scripts of the page that need no browser: words, voiceprints, and a deletion that meets limits and faults."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from api.page import FOLDER
from api.schemas.jobs import TurnsRequest
from shared.domain.quality import Capture
from shared.domain.voiceprints import Voiceprint

pytestmark = pytest.mark.skipif(not shutil.which("node"), reason="Node.js is not here")

#: What a browser keeps.
STORES = """
function storage() {
  const kept = new Map();
  return {
    kept,
    getItem: (name) => kept.get(name) ?? null,
    setItem: (name, value) => kept.set(name, value),
    removeItem: (name) => kept.delete(name),
  };
}
globalThis.localStorage = storage();
globalThis.sessionStorage = storage();
globalThis.dispatchEvent = () => {};
"""
#: A browser's globals, a clock that does not wait, and an API of which some answers are refusals.
STAGE = """
import { ApiError } from "./common/api.js";
import { deleteEverything } from "./history/deletion.js";
import { addVoice, openFor, voices } from "./common/memory.js";
STORES
openFor("me");
addVoice({ name: "Ann", voiceprint: "..." });
const pauses = [];
globalThis.setTimeout = (go, ms) => (pauses.push(ms), queueMicrotask(go));
const asked = {};
const running = new AbortController();
async function call(method, path, body, { signal }) {
  signal.throwIfAborted();
  const request = `${method} ${path}`;
  asked[request] = (asked[request] ?? 0) + 1;
  const answers = ANSWERS[request] ?? [{ items: [], nextCursor: null }];
  const { status, retryAfter, stop, ...answer } = answers[Math.min(asked[request], answers.length) - 1];
  if (stop) running.abort();
  if (status) throw new ApiError(status, { message: `Refused with ${status}.` }, retryAfter);
  return answer;
}
const waits = [];
const record = await deleteEverything({ call }, {
  people: false, signal: running.signal, onProgress() {}, onWait: (error) => waits.push(error.message),
});
console.log(JSON.stringify({ record, asked, pauses, waits, voices: voices().length > 0 }));
"""
PAGES = {
    "GET /v2/jobs?limit=100&status=running": [{"items": [{"id": "c"}], "nextCursor": None}],
    "GET /v2/jobs?limit=100": [{"items": [{"id": "a"}, {"id": "b"}], "nextCursor": "n"}],
    "GET /v2/jobs?limit=100&cursor=n": [{"items": [{"id": "c"}, {"id": "d"}], "nextCursor": None}],
}


def run(program: str, folder: Path) -> Any:
    """Run a module beside the page's files; returns what it prints, as JSON."""
    shutil.copytree(FOLDER, folder, dirs_exist_ok=True)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "program.js").write_text(program)
    done = subprocess.run(["node", "program.js"], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def delete(answers: dict[str, Any], folder: Path) -> Any:
    return run(f"const ANSWERS = {json.dumps(PAGES | answers)};{STAGE.replace('STORES', STORES)}", folder)


def test_every_confidence_has_words_that_only_rise(tmp_path: Path) -> None:
    program = """
      import { confidenceWords, MARKS } from "./common/words.js";
      console.log(JSON.stringify([MARKS, [...Array(101).keys()].map(confidenceWords)]));
    """
    marks, said = run(program, tmp_path)
    assert [(mark["name"], mark["at"]) for mark in marks] == [("balanced", 50), ("strict", 90), ("strictest", 99)]
    words = [each["words"] for each in said]
    assert list(dict.fromkeys(words)) == [
        "most likely somebody else",
        "more likely somebody else",
        "more likely the same person",
        "rarely a stranger",
        "hardly ever a stranger",
    ]
    assert [number for number in range(1, 101) if words[number] != words[number - 1]] == [10, 50, 90, 99]
    assert said[90]["text"] == "90 of 100: rarely a stranger"
    assert all(("No mark accepts" in each["more"]) == (number < 50) for number, each in enumerate(said))


def test_a_voiceprint_is_read_as_the_service_wrote_it(tmp_path: Path) -> None:
    vector = np.eye(1, 192, 7, dtype=np.float32)[0]
    capture = Capture(net_speech_s=12.5, snr_db=20.0, narrowband=True)
    text = Voiceprint("titanet_large@2", vector, capture).encode()
    wrapped = "\n".join(text[at : at + 76] for at in range(0, len(text), 76))
    program = f"""
      import {{ readVoiceprint }} from "./compare/voiceprint.js";
      const read = (text) => {{ try {{ return readVoiceprint(text); }} catch (error) {{ return error.message; }} }};
      console.log(JSON.stringify({json.dumps([text, wrapped, json.dumps({"voiceprint": text}), text[:-8], text[1:]])}
        .map(read)));
    """
    *whole, cut, headless = run(program, tmp_path)
    assert whole == [{"voiceprint": text, "model": "titanet_large@2", "seconds": 12.5}] * 3
    assert "cut off or damaged" in cut
    assert "no voiceprint" in headless


def test_a_name_that_is_given_to_a_speaker_is_one_that_exports_take(tmp_path: Path) -> None:
    names = [
        "Ann\u2028Lee",
        "\ufeff Ann\n\x00\u202eB\u2066 ",
        "a\ud800b",
        "\U0001d306" * 101,
        "a" * 99 + " b",
        "\x07",
        "名 前",
    ]
    program = f"""
      import {{ Conversation }} from "./result/conversation.js";
      globalThis.localStorage = globalThis.sessionStorage = {{ getItem: () => null, setItem() {{}} }};
      globalThis.dispatchEvent = () => {{}};
      const output = {{ diarization: [], speakers: [{{ speaker: "SPEAKER_00", seconds: 1 }}] }};
      const given = {json.dumps(names)}.map((name) => {{
        const conversation = new Conversation({{ jobId: "a", output }});
        conversation.rename("SPEAKER_00", name);
        return conversation.given;
      }});
      console.log(JSON.stringify(given));
    """
    given = [one.get("SPEAKER_00") for one in run(program, tmp_path)]
    assert given == ["Ann Lee", "Ann B", "a b", "\U0001d306" * 100, "a" * 99, None, "名 前"]
    for name in filter(None, given):
        assert TurnsRequest().load({"names": {"SPEAKER_00": name}})["names"] == {"SPEAKER_00": name}


def test_exports_send_only_names_that_were_given_and_print_how(tmp_path: Path) -> None:
    program = """
      import { Conversation } from "./result/conversation.js";
      import { requestFor } from "./result/exports.js";
      import { samplesOf } from "./common/samples.js";
      globalThis.localStorage = globalThis.sessionStorage = { getItem: () => null, setItem() {} };
      globalThis.dispatchEvent = () => {};
      const speakers = ["SPEAKER_00", "SPEAKER_01"].map((speaker) => ({ speaker, seconds: 1 }));
      const voiceprints = [{ speaker: "SPEAKER_00", match: "Ann\\nB" }];
      const conversation = new Conversation({ jobId: "a", output: { diarization: [], speakers, voiceprints } });
      const before = requestFor("a", "csv", conversation.given);
      conversation.rename("SPEAKER_01", "O'Zoë");
      const [method, path, body] = requestFor("a", "csv", conversation.given);
      const samples = samplesOf([{ method, path, body }], "http://service");
      console.log(JSON.stringify({ before, after: [method, path, body], samples }));
    """
    told = run(program, tmp_path)
    assert told["before"] == ["GET", "/v1/jobs/a/turns?format=csv", None]
    body = {"format": "csv", "names": {"SPEAKER_01": "O'Zoë"}}
    assert told["after"] == ["POST", "/v1/jobs/a/turns", body]
    assert "O'\\''Zoë" in told["samples"]["curl"]
    for language in ("Python", "JavaScript"):
        assert "O'Zoë" in told["samples"][language]
        assert "text" in told["samples"][language]


def test_a_deletion_waits_for_limits_and_lists_what_it_cannot_delete(tmp_path: Path) -> None:
    told = delete(
        {
            "POST /v1/jobs/c/cancel": [{"status": 409}],
            "DELETE /v1/jobs/a": [{"status": 429, "retryAfter": 17}, {"status": 503}, {"jobId": "a"}],
            "DELETE /v1/jobs/b": [{"status": 500}],
            "DELETE /v1/jobs/c": [{"status": 404}],
            "DELETE /v1/jobs/d": [{"jobId": "d"}],
            "GET /v1/media?limit=1000": [{"items": [{"url": "media://in/x.wav"}], "nextCursor": None}],
            "DELETE /v1/media/in/x.wav": [{"url": "media://in/x.wav", "sha256": "0"}],
        },
        tmp_path,
    )
    assert told["record"] == {
        "receipts": [{"jobId": "a"}, {"jobId": "d"}, {"url": "media://in/x.wav", "sha256": "0"}, {"voices": 1}],
        "errors": [{"what": "b", "message": "Refused with 500."}],
        "stopped": False,
    }
    assert told["asked"]["DELETE /v1/jobs/b"] == 4
    assert max(told["pauses"]) == 17_000
    assert "Refused with 429." in told["waits"]
    assert not told["voices"]


def test_a_deletion_that_is_stopped_keeps_its_receipts_and_the_rest(tmp_path: Path) -> None:
    told = delete({"DELETE /v1/jobs/a": [{"jobId": "a", "stop": True}]}, tmp_path)
    assert told["record"] == {"receipts": [{"jobId": "a"}], "errors": [], "stopped": True}
    assert "DELETE /v1/jobs/b" not in told["asked"]
    assert told["voices"]


def test_labels_of_a_request_come_once_and_look_like_no_speaker(tmp_path: Path) -> None:
    names = ["Ann", "Ann", "Ann (2)", "Ann", "SPEAKER_00", "speaker_1", " Speaker_x ", "", "x" * 200, "x" * 200]
    program = f"""
      import {{ labelled }} from "./listen/options.js";
      const shelf = {json.dumps(names)}.map((name) => ({{ name, voiceprint: name }}));
      console.log(JSON.stringify(labelled(shelf)));
    """
    found = run(program, tmp_path)
    assert [one["voiceprint"] for one in found] == names
    labels = [one["label"] for one in found]
    assert labels[:8] == ["Ann", "Ann (2)", "Ann (2) (2)", "Ann (3)", "Speaker 00", "Speaker 1", "Speaker x", "Voice"]
    assert len(set(labels)) == len(labels) and max(map(len, labels)) <= 100


def test_a_pause_leaves_no_listener_and_ends_with_its_signal(tmp_path: Path) -> None:
    program = """
      import { getEventListeners } from "node:events";
      import { patiently } from "./common/api.js";
      const running = new AbortController();
      const wait = globalThis.setTimeout;
      globalThis.setTimeout = (go) => wait(go, 0);
      let left = 20;
      const ask = async () => {
        if (left-- > 0) throw { status: 429 };
        return "done";
      };
      const answer = await patiently(ask, running.signal);
      const listeners = getEventListeners(running.signal, "abort").length;
      running.abort(new Error("stopped"));
      left = 1;
      const ended = await patiently(ask, running.signal).catch((error) => error.message);
      console.log(JSON.stringify([answer, listeners, ended]));
    """
    assert run(program, tmp_path) == ["done", 0, "stopped"]


def test_each_client_has_a_memory_of_its_own_and_what_waited_is_added(tmp_path: Path) -> None:
    program = f"""
      import * as memory from "./common/memory.js";
      {STORES}
      const names = () => memory.voices().map(({{ name }}) => name);
      const told = [];
      memory.openFor("a");
      memory.addVoice({{ name: "Ann", voiceprint: "..." }});
      memory.noteJob("1", {{ name: "call", names: {{ SPEAKER_00: "Ann" }} }});
      memory.close();
      memory.addVoice({{ name: "Bob", voiceprint: "..." }});
      memory.noteJob("1", {{ source: "media://call" }});
      told.push([names(), memory.job("1"), localStorage.kept.size]);
      memory.openFor("b");
      told.push([names(), memory.job("1"), sessionStorage.kept.size]);
      memory.forgetJobs();
      memory.close();
      memory.addVoice({{ name: "Eve", voiceprint: "..." }});
      memory.openFor("a");
      told.push([names(), memory.job("1").name]);
      memory.openFor("b");
      told.push([names(), memory.job("1").source ?? null]);
      console.log(JSON.stringify(told));
    """
    waiting, second, first, again = run(program, tmp_path)
    assert waiting == [["Bob"], {"names": {}, "source": "media://call"}, 2]
    assert second == [["Bob"], {"names": {}, "source": "media://call"}, 0]
    assert first == [["Ann", "Eve"], "call"]
    assert again == [["Bob"], None]


def test_an_address_of_the_web_is_known_to_the_tab_and_never_written_down(tmp_path: Path) -> None:
    program = f"""
      import * as memory from "./common/memory.js";
      {STORES}
      const source = "HTTPS://host.example/call.wav?signature=secret";
      memory.noteJob("1", {{ source, name: "call.wav" }});
      memory.openFor("a");
      memory.noteJob("1", {{ names: {{ SPEAKER_00: "Ann" }} }});
      memory.addVoice({{ name: "Ann", voiceprint: "...", source }});
      const written = JSON.stringify([[...localStorage.kept], [...sessionStorage.kept]]);
      console.log(JSON.stringify([memory.job("1"), written.includes("secret"), written.includes("call.wav")]));
    """
    job, secret, name = run(program, tmp_path)
    assert job["source"].endswith("signature=secret")
    assert (secret, name) == (False, True)


@pytest.mark.parametrize("value", ["{}", "[null]", "null", '"text"', "not JSON", '[{}, 1, [], {"id": 1}]'])
def test_what_is_stored_in_another_shape_is_as_if_it_were_not_there(value: str, tmp_path: Path) -> None:
    program = f"""
      import * as memory from "./common/memory.js";
      {STORES}
      memory.openFor("a");
      for (const name of ["jobs", "voices"]) localStorage.setItem(`timbre.a.${{name}}`, {json.dumps(value)});
      const read = [memory.voices(), memory.job("1")];
      localStorage.setItem("timbre.a.jobs", JSON.stringify({{ 1: {value if value[0] in "{[n" else "0"} }}));
      read.push(memory.job("1"));
      memory.noteJob("1", {{ name: "call" }});
      memory.addVoice({{ name: "Ann", voiceprint: "..." }});
      console.log(JSON.stringify([...read, memory.job("1").name, memory.voices().length]));
    """.replace("1: not JSON", "1: 0")
    assert run(program, tmp_path) == [[], {"names": {}}, {"names": {}}, "call", 1]


def test_addresses_of_the_service_are_called_where_the_page_is_and_others_stay(tmp_path: Path) -> None:
    there = "https://s3.example/bucket/v1/media/upload/x?X-Amz-Signature=0"
    addresses = ["http://localhost:8000/v1/media/upload/a.b-c_d", "https://x.example/sub/v1/media/download/a", there]
    program = f"""
      import {{ reached }} from "./common/api.js";
      console.log(JSON.stringify({json.dumps(addresses)}.map(reached)));
    """
    assert run(program, tmp_path) == ["./v1/media/upload/a.b-c_d", "./v1/media/download/a", there]
