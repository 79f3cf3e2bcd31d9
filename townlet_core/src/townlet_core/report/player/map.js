// The map: ground, places, people, who uses and who waits for what.
const TILE = 24;
const map = document.getElementById("map");
const centre = (y, x) => [x * TILE + TILE / 2, y * TILE + TILE / 2];

const people = [];
const places = [];
const lines = [];
const night = draw("rect", { class: "night", width: town.columns * TILE, height: town.rows * TILE });

function drawMap() {
  const width = town.columns * TILE, height = town.rows * TILE;
  map.setAttribute("viewBox", `-6 -6 ${width + 12} ${height + 12}`);
  map.parentElement.style.setProperty("--ratio", width / height);
  const tiles = draw("pattern", { id: "tiles", width: 2 * TILE, height: 2 * TILE, patternUnits: "userSpaceOnUse" },
    draw("rect", { class: "tile", width: TILE, height: TILE }),
    draw("rect", { class: "tile", x: TILE, y: TILE, width: TILE, height: TILE }));
  map.append(draw("defs", {}, tiles),
    draw("rect", { class: "ground", x: -6, y: -6, width: width + 12, height: height + 12, rx: 12 }),
    draw("rect", { fill: "url(#tiles)", width, height, rx: 6 }));
  town.things.forEach(drawPlace);
  map.append(night);
  for (let agent = 0; agent < numPeople; agent += 1) {
    lines.push(draw("line", { class: "link", stroke: town.people[agent].colour }));
  }
  map.append(...lines);
  town.people.forEach(drawPerson);
}

function drawPlace(thing) {
  const [x, y] = [thing.x * TILE, thing.y * TILE];
  const big = isWorkplace(thing) ? 3 : 0;
  const frame = draw("rect", { class: "frame", x: -big, y: -big, width: TILE + 2 * big, height: TILE + 2 * big, rx: 6 });
  const drawn = draw("g", { class: "icon", transform: "translate(3.6 3.6) scale(.7)" }, ...icon(thing.kind));
  const stock = draw("text", { class: "stock", x: TILE - 1, y: TILE + 1 });
  const title = draw("title");
  const place = draw("g", { class: "place", transform: `translate(${x} ${y})` }, frame, drawn, title);
  if (thing.kind === "fridge") place.append(stock);
  place.style.setProperty("--kind", town.colours[thing.kind]);
  places.push({ place, stock, title });
  map.append(place);
}

function drawPerson({ colour }, agent) {
  const emote = draw("text", { class: "emote", x: 8, y: -7 });
  const title = draw("title");
  const person = draw("g", { class: "person", tabindex: 0, role: "button", "aria-label": `Agent ${agent}` },
    draw("circle", { class: "halo", r: 13 }), draw("circle", { class: "body", r: 9 }),
    draw("text", { class: "number", y: 0.5 }, String(agent)), draw("circle", { class: "flag", cx: 7.5, cy: 7, r: 3.4 }),
    emote, title);
  person.style.setProperty("--colour", colour);
  person.dataset.agent = agent;
  person.addEventListener("click", () => follow(agent));
  person.addEventListener("keydown", (event) => { if (event.key === "Enter") follow(agent); });
  people.push({ person, emote, title });
  map.append(person);
}

const EMOTES = {
  queue_conflict: ["!", "bad"], ghost_step: ["!", "bad"], chat_success: ["♥", "good"], chat_failure: ["…", "bad"],
  shared_meal: ["♥", "good"], queue_handover: ["✓", "good"], employment_helped_when_late: ["♥", "good"],
  agent_spawned: ["★", "good"], affordance_fail: ["?", "warn"],
};
const EMOTE_TICKS = 6;

// The signs above heads: of the latest event within a few ticks, else of sleep.
function emotesAt(frame) {
  const found = new Map();
  const end = eventsUntil(frame);
  for (let index = eventsUntil(frame - EMOTE_TICKS); index < end; index += 1) {
    const event = events[index];
    const sign = EMOTES[event.kind];
    if (!sign) continue;
    found.set(event.actor, sign);
    if (sign[1] === "good" && !isOfObject(event)) found.set(event.target, sign);
  }
  return found;
}

function paintMap(frame, followed, isSmooth) {
  map.classList.toggle("smooth", isSmooth);
  const emotes = emotesAt(frame);
  people.forEach(({ person, emote, title }, agent) => {
    const here = isPresent(frame, agent);
    person.classList.toggle("gone", !here);
    person.classList.toggle("followed", agent === followed);
    lines[agent].classList.toggle("off", true);
    if (!here) return;
    const [x, y] = centre(value(agents.y, frame, agent), value(agents.x, frame, agent));
    person.style.transform = `translate(${x}px, ${y}px)`;
    const [word, tone] = shiftOf(frame, agent);
    person.dataset.tone = tone;
    const thing = usingOf(frame, agent);
    const asleep = thing >= 0 && town.things[thing].kind === "bed";
    const [sign, mood] = emotes.get(agent) ?? (asleep ? ["z", "calm"] : ["", ""]);
    emote.textContent = sign;
    emote.dataset.mood = mood;
    title.textContent = `agent ${agent}: ${doing(frame, agent)}, ${word}`;
    link(agent, x, y, thing >= 0 ? thing : queueOf(frame, agent), thing >= 0);
  });
  places.forEach(({ place, stock, title }, thing) => {
    const users = usersOf(frame, thing);
    place.classList.toggle("busy", users.length > 0);
    stock.textContent = value(things.stock, frame, thing);
    const waiting = queueAt(frame, thing).length;
    title.textContent = `${town.things[thing].label}: ${users.length} here, ${waiting} in the queue`;
  });
  const isDark = "blackout" in perturbations && value(perturbations.blackout, frame) > 0;
  night.classList.toggle("on", isDark);
}

function link(agent, x, y, thing, isUsing) {
  if (thing < 0) return;
  const [toX, toY] = centre(town.things[thing].y, town.things[thing].x);
  const line = lines[agent];
  for (const [name, number] of Object.entries({ x1: x, y1: y, x2: toX, y2: toY })) line.setAttribute(name, number);
  line.classList.remove("off");
  line.classList.toggle("waits", !isUsing);
}
