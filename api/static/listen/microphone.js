// The microphone: asked for, recorded in the browser's own format, and always given back.

/** Longest recording of a voiceprint, in seconds. */
export const LONGEST_S = 30;
const TYPES = ["audio/webm;codecs=opus", "audio/mp4", "audio/ogg;codecs=opus"];
const CHUNK_MS = 250;
/** A voice is heard as it is: filters made for calls change it. */
const SOUND = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
const REFUSALS = {
  NotAllowedError: "This page may not use the microphone. Allow it in the settings of this page, beside its address, "
    + "then press Record again. Or choose a file.",
  NotFoundError: "There is no microphone. Connect one and press Record again, or choose a file.",
  NotReadableError: "The microphone does not answer. Another program may hold it: close that and press Record again.",
};

/** Return why there can be no microphone here, as a sentence; null where there can be one. */
export function obstacle() {
  if (!navigator.mediaDevices?.getUserMedia) {
    return "Browsers lend the microphone to https:// pages and to localhost only. Open this page at such an address, "
      + "or choose a file: everything else works here too.";
  }
  return window.MediaRecorder ? null : "This browser cannot record. Record elsewhere and choose the file.";
}

/** Return a refusal of the microphone as a sentence that says what to do. */
export function refusal(error) {
  return REFUSALS[error.name] ?? `The microphone could not be opened (${error.name}). Choose a file instead.`;
}

/** Ask for the microphone and begin to record; rejects as getUserMedia does. */
export async function record() {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: SOUND });
  try {
    return new Recording(stream);
  } catch (error) {
    release(stream);
    throw error;
  }
}

function release(stream) {
  for (const track of stream.getTracks()) track.stop();
}

/** Recording under way. `finished` becomes `{blob, seconds, peak}`, or null where it was discarded. */
class Recording {
  #peak = 0;
  #parts = [];
  #discarded = false;
  #started = performance.now();

  constructor(stream) {
    const type = TYPES.find((one) => MediaRecorder.isTypeSupported(one));
    this.recorder = new MediaRecorder(stream, type ? { mimeType: type } : {});
    this.context = new AudioContext();
    this.analyser = this.context.createAnalyser();
    this.context.createMediaStreamSource(stream).connect(this.analyser);
    this.finished = this.#end().finally(() => {
      clearTimeout(this.timer);
      release(stream);
      this.context.close();
    });
    this.recorder.start(CHUNK_MS);
    this.timer = setTimeout(() => this.stop(), LONGEST_S * 1000);
  }

  #end() {
    return new Promise((resolve, reject) => {
      this.recorder.addEventListener("error", (event) => reject(event.error ?? event));
      this.recorder.addEventListener("dataavailable", (event) => this.#keep(event.data));
      this.recorder.addEventListener("stop", () => resolve(this.#discarded ? null : this.#result()));
    });
  }

  /** Timers of a page in the background may be late; chunks of sound are not. */
  #keep(part) {
    this.#parts.push(part);
    // Nor is the level looked at there.
    this.level();
    if (this.seconds() >= LONGEST_S) this.stop();
  }

  #result() {
    const blob = new Blob(this.#parts, { type: this.recorder.mimeType });
    return { blob, seconds: Math.min(this.seconds(), LONGEST_S), peak: this.#peak };
  }

  /** Return how long it has been recording. */
  seconds() {
    return (performance.now() - this.#started) / 1000;
  }

  /** Return the loudness of this moment, from 0 (-60 dB) to 1. */
  level() {
    const sound = new Float32Array(this.analyser.fftSize);
    this.analyser.getFloatTimeDomainData(sound);
    this.#peak = sound.reduce((most, value) => Math.max(most, Math.abs(value)), this.#peak);
    const power = sound.reduce((sum, value) => sum + value * value, 0) / sound.length;
    return Math.max(0, 1 + (10 * Math.log10(power + 1e-12)) / 60);
  }

  stop() {
    if (this.recorder.state !== "inactive") this.recorder.stop();
  }

  discard() {
    this.#discarded = true;
    this.stop();
  }
}
