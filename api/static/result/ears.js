// Channels of a recording heard together or apart, through Web Audio.

export class Ears {
  /** @param audio the element that plays. */
  constructor(audio) {
    this.audio = audio;
    this.context = null;
  }

  /** Hear one channel, counted from 0, in both ears; null: all as they are. `number` is how many there are. */
  hear(channel, number) {
    if (!this.context && channel === null) return;
    this.context ??= this.#open(number);
    this.source.disconnect();
    this.splitter.disconnect();
    if (channel === null) return this.source.connect(this.context.destination);
    this.source.connect(this.splitter);
    this.splitter.connect(this.context.destination, channel);
  }

  #open(number) {
    const context = new AudioContext();
    this.source = context.createMediaElementSource(this.audio);
    this.splitter = context.createChannelSplitter(number);
    return context;
  }

  /** Browsers let sound begin with an action of the user alone. */
  wake() {
    this.context?.resume();
  }

  close() {
    this.context?.close();
  }
}

/** Return the names of channels: left and right, or numbers as the service counts them. */
export function channelNames(number) {
  if (number === 2) return ["Left", "Right"];
  return Array.from({ length: number }, (_, channel) => `Channel ${channel}`);
}
