// View "Compare": a shelf of named voices; any two of them compared, or one with all.

import { addingForms } from "./adding.js";
import { showAll, showPair } from "./comparisons.js";
import { el, fill } from "../common/dom.js";
import * as memory from "../common/memory.js";
import { nameOf } from "../common/people.js";
import { peopleList } from "./people-list.js";
import { EVERYONE, picker } from "./picker.js";
import { searchOffer } from "../common/searching.js";
import { shelfList } from "./shelf.js";

export function compareView(where, { timbre, signal }) {
  const view = new CompareView(where, timbre, signal);
  return { shown: (voiceId) => view.shown(voiceId) };
}

class CompareView {
  constructor(where, timbre, signal) {
    this.where = where;
    this.timbre = timbre;
    this.people = [];
    /** Keys that were picked, by hand or by the address. */
    this.picked = {};
    this.running = new AbortController();
    this.picker = picker((one, other) => this.choose(one, other));
    this.result = el("div", { className: "result" });
    this.peopleCard = peopleList(timbre, (people) => this.know(people));
    this.comparison = el("section", { className: "card", aria: { label: "Comparison" } },
      this.picker.element, this.result);
    this.invitation = el("section", { className: "card invitation", aria: { label: "First steps" } });
    fill(where,
      el("div", {}, el("h1", { id: "compare-title" }, "Compare voices"),
        el("p", { className: "soft" }, "Is it the same person? Two voiceprints are enough; no recording is needed.")),
      this.comparison, this.invitation, shelfCard((voice) => this.show(`voice ${voice.id}`, EVERYONE), signal),
      this.peopleCard.element, explanation());
    addEventListener("timbre-voices", () => this.refresh(), { signal });
  }

  shown(voiceId) {
    const wanted = this.voices().find(({ id }) => id === voiceId);
    if (wanted) this.picked = { one: wanted.key, other: EVERYONE };
    this.peopleCard.load();
    this.refresh(true);
  }

  shelf() {
    return memory.voices().reverse().map((voice) => ({ ...voice, key: `voice ${voice.id}`, models: [voice.model] }));
  }

  /** Return all that can be compared, the newest of the shelf first. */
  voices() {
    const people = this.people.map((person) => (
      { key: `person ${person.identityId}`, name: nameOf(person), person, models: person.models }));
    return [...this.shelf(), ...people.filter(({ models }) => models.length)];
  }

  know(people) {
    this.people = people;
    this.refresh();
  }

  choose(one, other) {
    this.picked = { one, other };
    this.refresh();
  }

  /** Offer the voices that are there now; compare anew where the choice has changed, or `always`. */
  refresh(always = false) {
    // A view of somebody who signed out is no longer there.
    if (!this.result.isConnected) return;
    const voices = this.voices();
    const before = JSON.stringify(this.offered);
    this.chosen = settled(this.picked, voices);
    this.offered = [this.chosen, voices.map(({ key, name }) => [key, name])];
    if (!always && before === JSON.stringify(this.offered)) return;
    this.comparison.hidden = voices.length < 2;
    invite(this.invitation, this.shelf().length, voices.length);
    this.picker.offer(voices, this.chosen);
    if (!this.where.hidden) this.compare();
  }

  compare() {
    this.running.abort();
    this.running = new AbortController();
    const { timbre, result, running: { signal } } = this;
    const find = (key) => this.voices().find((voice) => voice.key === key);
    const one = find(this.chosen.one);
    const answer = el("div");
    if (!one || !this.chosen.other) return fill(result, el("p", { className: "soft" }, "Choose two voices."));
    fill(result, answer, this.searchFor(one, signal));
    if (this.chosen.other !== EVERYONE) {
      return showPair(answer, one, find(this.chosen.other), { timbre, signal, again: () => this.compare() });
    }
    const others = this.shelf().filter(({ key }) => key !== one.key);
    return showAll(answer, one, others, { timbre, signal, choose: (voice) => this.show(one.key, voice.key) });
  }

  /** Compare what was not chosen by the lists, and lead there. */
  show(one, other) {
    this.choose(one, other);
    this.picker.element.querySelector("#other-voice").focus();
  }

  searchFor({ name, source }, signal) {
    if (!source?.startsWith("media://") || !this.people.length) return null;
    return searchOffer(name, source, this.peopleCard.space(), { timbre: this.timbre, signal });
  }
}

/**
 * Return the choice of voices that are there: those picked, else the newest two of the shelf. A person is compared only
 * when picked, since the audit log tells of each voiceprint that is read.
 */
function settled({ one, other }, voices) {
  const keys = voices.map(({ key }) => key);
  const shelf = voices.filter(({ person }) => !person).map(({ key }) => key);
  const first = keys.includes(one) ? one : shelf.find((key) => key !== other);
  const picked = other === EVERYONE ? shelf.length > 2 : keys.includes(other) && other !== first;
  return { one: first, other: picked ? other : shelf.find((key) => key !== first) };
}

function invite(where, kept, all) {
  where.hidden = kept > 0 && all > 1;
  fill(where, el("h2", {}, kept ? "One voice is here: add another" : "No voice is on your shelf yet"),
    el("p", { className: "soft" }, "Listen to a recording and keep its voice, or add a voiceprint that you have below."),
    el("a", { className: "button primary", href: "#/listen" }, "Listen to a recording"));
}

function shelfCard(compareWithAll, signal) {
  return el("section", { className: "card", aria: { labelledby: "shelf-title" } },
    el("h2", { id: "shelf-title", tabIndex: -1 }, "Your shelf"),
    el("p", { className: "soft" }, "These voices are kept in this browser, and nowhere else."),
    shelfList(compareWithAll, signal), addingForms());
}

function explanation() {
  return el("details", {}, el("summary", {}, "What does the number say?"),
    el("p", {}, "Of 100 pairs of voices with 90 of 100, some 90 are one person, if one person and two were equally ",
      "likely beforehand. Where the right person is rare, most who match are strangers: then ask for a name or a PIN ",
      "first."),
    el("p", {}, "Balanced (50) weighs both errors alike. Strict (90) lets few strangers pass, and refuses more right ",
      "people. Strictest (99) lets hardly any stranger pass, and refuses many right people."),
    el("p", {}, "It does not prove that a live person spoke: cloned voices pass. Acted emotions and babble in the ",
      "background mislead it, and less than 3 seconds of speech say little."));
}
