// The recording: tables of numbers, unpacked once; value(table, frame, column) reads one.
const town = JSON.parse(document.getElementById("recording").textContent);
const numPeople = town.people.length;
const lastFrame = town.frames - 1;

const ARRAYS = { u1: Uint8Array, i1: Int8Array, i2: Int16Array, i4: Int32Array };

function unpack(packed, width) {
  const bytes = Uint8Array.from(atob(packed.data), (letter) => letter.charCodeAt(0));
  return { values: new ARRAYS[packed.kind](bytes.buffer), scale: packed.scale, width };
}

function unpackAll(tables, width) {
  return Object.fromEntries(Object.entries(tables).map(([name, packed]) => [name, unpack(packed, width)]));
}

const agents = unpackAll(town.agents, numPeople);
const terms = unpackAll(town.terms, numPeople);
const things = unpackAll(town.objects, town.things.length);
const perturbations = unpackAll(town.perturbations, 1);

const value = (table, frame, column = 0) => table.values[frame * table.width + column] * table.scale;

const events = town.events.map(([tick, kind, actor, target, amount], index) => ({
  index, tick, kind: town.eventKinds[kind], actor, target, amount,
}));

// Number of events up to and with a frame.
function eventsUntil(frame) {
  let low = 0, high = events.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (events[middle].tick <= frame) low = middle + 1;
    else high = middle;
  }
  return low;
}

const isOfObject = (event) => event.kind.startsWith("affordance_");
const isOfTown = (event) => event.kind.startsWith("perturbation_");
const concerns = (event, agent) =>
  event.actor === agent || (event.target === agent && !isOfObject(event) && !isOfTown(event));

// Sums of a table's column up to each frame: totals of rewards.
const sums = new Map();
function total(table, frame, column) {
  if (!sums.has(table)) {
    const running = new Float64Array(table.values.length);
    for (let i = 0; i < running.length; i += 1) {
      running[i] = table.values[i] * table.scale + (i < table.width ? 0 : running[i - table.width]);
    }
    sums.set(table, running);
  }
  return sums.get(table)[frame * table.width + column];
}

// First frame of the stretch in which a column has had its present value.
function since(table, frame, column) {
  const now = value(table, frame, column);
  let first = frame;
  while (first > 0 && value(table, first - 1, column) === now) first -= 1;
  return first;
}

const isPresent = (frame, agent) => value(agents.present, frame, agent) === 1;
const usingOf = (frame, agent) => (isPresent(frame, agent) ? value(agents.using, frame, agent) : -1);
const queueOf = (frame, agent) => (isPresent(frame, agent) ? value(agents.queue, frame, agent) : -1);
const isWorkplace = (thing) => thing.kind === "grocer" || thing.kind === "cafe";

function usersOf(frame, thing) {
  const users = [];
  for (let agent = 0; agent < numPeople; agent += 1) if (usingOf(frame, agent) === thing) users.push(agent);
  return users;
}

function queueAt(frame, thing) {
  const waiting = [];
  for (let agent = 0; agent < numPeople; agent += 1) if (queueOf(frame, agent) === thing) waiting.push(agent);
  const reserved = value(things.reserved, frame, thing);
  const began = new Map(waiting.map((agent) => [agent, agent === reserved ? -1 : since(agents.queue, frame, agent)]));
  return waiting.sort((one, other) => began.get(one) - began.get(other) || one - other);
}
