// List of turns, page by page: the timeline for those who read or hear it, and the way to every moment by keyboard.

import { announce, button, clock, el, fill } from "../common/dom.js";

const PAGE = 100;

export class TurnList {
  /** @param {import("./player.js").Player} player */
  constructor(conversation, player) {
    Object.assign(this, { conversation, player, page: 0 });
    this.turns = conversation.words ?? conversation.turns;
    this.list = el("ol", { className: "turns" });
    this.earlier = button("Earlier", () => this.#turn(-1));
    this.later = button("Later", () => this.#turn(1));
    this.where = el("span", { className: "soft" });
    const pager = el("div", { className: "row", hidden: this.pages < 2 }, this.earlier, this.later, this.where);
    this.element = el("div", {}, this.list, pager);
    player.addEventListener("time", () => this.#mark());
    this.show();
  }

  get pages() {
    return Math.ceil(this.turns.length / PAGE);
  }

  #turn(pages) {
    this.page += pages;
    this.show();
    announce(this.where.textContent);
  }

  /** Show the turns of the page, with the names of now. */
  show() {
    const first = this.page * PAGE;
    const turns = this.turns.slice(first, first + PAGE);
    this.rows = turns.map((turn) => ({ turn, element: this.#row(turn) }));
    this.list.start = first + 1;
    fill(this.list, this.rows.map((row) => row.element));
    this.list.scrollTop = 0;
    this.earlier.disabled = this.page === 0;
    this.later.disabled = this.page >= this.pages - 1;
    this.where.textContent = `Turns ${first + 1} to ${first + turns.length} of ${this.turns.length}`;
  }

  #row(turn) {
    const colour = this.conversation.byId.get(turn.speaker)?.colour;
    const sure = this.conversation.confidence(turn);
    const parts = [
      el("span", { className: "unseen" }, "Hear from "),
      el("span", { className: "when" }, `${clock(turn.start)} to ${clock(turn.end)}`),
      el("span", { className: "who" }, el("span", { className: `dot lane-${colour}` }), " ",
        this.conversation.name(turn.speaker)),
      sure !== undefined && el("span", { className: "soft when" }, `${Math.round(sure)} of 100`),
      turn.text && el("span", { className: "said" }, turn.text),
    ];
    return el("li", {}, fill(button("", () => this.player.play(turn.start)), parts));
  }

  /** Mark the turns that are heard just now. */
  #mark() {
    const now = this.player.time;
    for (const { turn, element } of this.rows) {
      const heard = turn.start <= now && now < turn.end;
      if (element.classList.contains("heard") !== heard) element.classList.toggle("heard", heard);
    }
  }
}
