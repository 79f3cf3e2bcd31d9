// Words for what happens, and small pieces of the page. Text from the recording is only ever set as text.
const NEEDS = ["hunger", "hygiene", "energy"];
const DOES = { fridge: "eats", stove: "cooks", shower: "washes", bed: "sleeps", grocer: "works", cafe: "works" };
const ACTIONS = ["waits", "walks north", "walks east", "walks south", "walks west", "asks to use", "leaves", "chats"];
const CITY = {
  price_spike: "prices are up", blackout: "blackout", outage: "no water", arranged_meet: "a meeting of rivals",
};
const EXITS = { 1: "faints", 2: "is evicted", 3: "reaches the end of the episode" };

// Parts of a sentence: text, {agent} or {thing}.
const SENTENCES = {
  queue_conflict: (e) => [who(e.actor), " is kept waiting by ", who(e.target)],
  queue_handover: (e) => [who(e.actor), " hands over to ", who(e.target)],
  ghost_step: (e) => [who(e.actor), " has had enough of waiting for ", who(e.target)],
  shared_meal: (e) => [who(e.actor), " and ", who(e.target), " eat together"],
  chat_success: (e) => [who(e.actor), " and ", who(e.target), " have a good chat"],
  chat_failure: (e) => [who(e.actor), " and ", who(e.target), " do not get on"],
  shift_late_start: (e) => [who(e.actor), " is late for work"],
  shift_absent: (e) => [who(e.actor), " is absent from work"],
  employment_helped_when_late: (e) => [who(e.actor), " covers for a friend, ", who(e.target)],
  employment_took_my_shift: (e) => [who(e.actor), " takes the shift of ", who(e.target)],
  affordance_start: (e) => [who(e.actor), " begins at ", { thing: e.target }],
  affordance_finish: (e) => [who(e.actor), " is done at ", { thing: e.target }],
  affordance_fail: (e) => [who(e.actor), " gets nothing at ", { thing: e.target }],
  agent_spawned: (e) => ["a newcomer moves in as ", who(e.actor)],
  agent_exit: (e) => [who(e.actor), ` ${EXITS[e.amount] ?? "leaves"}`],
  perturbation_started: (e) => [`${cityName(e.target)} begins`],
  perturbation_ended: (e) => [`${cityName(e.target)} is over`],
};
const TONES = {
  queue_conflict: "bad", ghost_step: "bad", chat_failure: "bad", employment_took_my_shift: "bad", agent_exit: "bad",
  shift_late_start: "warn", shift_absent: "warn", affordance_fail: "warn", perturbation_started: "warn",
  queue_handover: "good", shared_meal: "good", chat_success: "good", employment_helped_when_late: "good",
};
const ROUTINE = new Set(["affordance_start", "affordance_finish"]);

const who = (agent) => (agent < 0 ? "somebody" : { agent });
const cityName = (kind) => ["a price spike", "a blackout", "a failure of the water", "an arranged meeting"][kind] ?? "something";
const placeName = (thing) => {
  const label = town.things[thing]?.label ?? "place";
  return /\d/.test(label) ? label : `the ${label}`;
};
const sentence = (event) => (SENTENCES[event.kind] ?? ((e) => [who(e.actor), ` ${e.kind.replaceAll("_", " ")}`]))(event);

// make("li.row", "text", child, ...): an element with classes and children.
function make(name, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  element.className = classes.join(" ");
  element.append(...children);
  return element;
}

const svgSpace = document.getElementById("map").namespaceURI;
function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(svgSpace, tag);
  for (const [name, text] of Object.entries(attributes)) element.setAttribute(name, text);
  element.append(...children);
  return element;
}

function icon(kind) {
  return (town.icons[kind] ?? []).map(([shape, ...n]) => {
    if (shape === "rect") return draw("rect", { x: n[0], y: n[1], width: n[2], height: n[3], rx: n[4] });
    if (shape === "circle") return draw("circle", { cx: n[0], cy: n[1], r: n[2] });
    return draw("polyline", { points: n.join(" ") });
  });
}

function chip(agent) {
  const element = make("button.chip", String(agent));
  element.type = "button";
  element.style.setProperty("--colour", town.people[agent].colour);
  element.title = `Follow agent ${agent}`;
  element.addEventListener("click", (event) => { event.stopPropagation(); follow(agent); });
  return element;
}

function spoken(event) {
  return sentence(event).map((part) => {
    if (typeof part === "string") return part;
    return "agent" in part ? chip(part.agent) : placeName(part.thing);
  });
}

function doing(frame, agent) {
  if (!isPresent(frame, agent)) return "not there";
  const thing = usingOf(frame, agent);
  if (thing >= 0) {
    const { kind } = town.things[thing], name = placeName(thing);
    const covered = value(agents.covering, frame, agent);
    if (isWorkplace(town.things[thing])) return covered >= 0 ? `works for ${covered} at ${name}` : `works at ${name}`;
    return kind === "bed" ? `sleeps in ${name}` : `${DOES[kind]} at ${name}`;
  }
  const queue = queueOf(frame, agent);
  if (queue >= 0) return `waits for ${placeName(queue)}`;
  return ACTIONS[value(agents.action, frame, agent)] ?? "begins the day";
}

// [word, class] for how an agent stands to its job.
function shiftOf(frame, agent) {
  const { job } = town.people[agent];
  if (!isPresent(frame, agent)) return ["gone", "none"];
  if (job === null) return ["no job", "none"];
  const thing = usingOf(frame, agent);
  const works = thing >= 0 && town.things[thing].kind === job && value(agents.covering, frame, agent) < 0;
  const state = value(agents.shift_state, frame, agent);
  if (state === 2) return [works ? "at work, late" : "late", "warn"];
  if (state === 3) return ["absent", "bad"];
  if (state === 1) return works ? ["at work", "good"] : ["due now", "warn"];
  return [state === 0 ? "before shift" : "after shift", "none"];
}

const signed = (number, digits = 3) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(digits)}`;
