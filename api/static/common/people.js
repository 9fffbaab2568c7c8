// People whom the service remembers: its identities, by space.

import { pages } from "./pace.js";

const PAGE = 100;

/** Return the handles of the client's spaces. */
export async function spacesOf(ask) {
  const [owner] = await ask("GET", "/v1/orgs");
  const found = [];
  for (let page = 1; ; page += 1) {
    const some = await ask("GET", `/v1/spaces/${owner.handle}?page=${page}&page-size=${PAGE}`);
    found.push(...some.map((space) => space.handle));
    if (some.length < PAGE) return found;
  }
}

/**
 * Return the newest people of a space, in whole pages, at least so many where there are:
 * `{items: [{identityId, handle, name, enrolments, models}], total}`.
 */
export async function peopleOf(ask, space, number) {
  const items = [];
  let page = {};
  do {
    const cursor = page.nextCursor;
    const query = new URLSearchParams({ limit: PAGE, space, ...(cursor && { cursor }) });
    page = await ask("GET", `/v1/identities?${query}`);
    items.push(...page.items);
  } while (page.nextCursor && items.length < number);
  return { items, total: page.total };
}

export function nameOf(person) {
  return person.name ?? person.handle;
}

/** Return the voiceprint of a person, of that model where there is one; throws an Error where there is none at all. */
export async function voiceprintOf(ask, person, model) {
  const path = `/v1/identities/${person.identityId}/enrolments`;
  const computed = [];
  for await (const one of pages((page) => ask("GET", page), `${path}?limit=${PAGE}`)) if (one.model) computed.push(one);
  const enrolment = computed.find((one) => one.model === model) ?? computed[0];
  if (!enrolment) throw new Error(`${nameOf(person)} has no voiceprint yet: no recording was enrolled.`);
  return (await ask("GET", `${path}/${enrolment.enrolmentId}/voiceprint`)).voiceprint;
}
