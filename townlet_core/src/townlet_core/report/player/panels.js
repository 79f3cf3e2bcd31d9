// The lists: people, places with their queues, and what happens.
const rows = [];
const placeRows = [];
const counts = document.getElementById("counts");
const city = document.getElementById("city");
const ticker = document.getElementById("events");
const routine = document.getElementById("routine");
const TICKER_LENGTH = 60;

function meter(need) {
  const fill = make("i");
  const bar = make(`span.meter.${need}`, fill);
  bar.title = need;
  return { bar, fill };
}

function fillMeter({ bar, fill }, share) {
  fill.style.transform = `scaleX(${share})`;
  bar.classList.toggle("low", share < 0.25);
}

function buildPeople() {
  town.people.forEach(({ colour }, agent) => {
    const meters = NEEDS.map(meter);
    const [does, wallet, pill] = [make("span.does"), make("span.wallet"), make("span.shift")];
    const badge = make("span.badge", String(agent));
    const button = make("button.person-row", badge, make("span.meters", ...meters.map(({ bar }) => bar)), make("span.lines", does, pill), wallet);
    button.type = "button";
    button.style.setProperty("--colour", colour);
    button.dataset.agent = agent;
    button.addEventListener("click", () => follow(agent));
    wallet.title = "money, in meals";
    rows.push({ button, meters, does, wallet, pill });
    document.getElementById("people").append(make("li", button));
  });
}

function paintPeople(frame, followed) {
  const tally = { "at work": 0, late: 0, absent: 0 };
  rows.forEach(({ button, meters, does, wallet, pill }, agent) => {
    const here = isPresent(frame, agent);
    button.classList.toggle("gone", !here);
    button.setAttribute("aria-pressed", agent === followed);
    NEEDS.forEach((need, index) => fillMeter(meters[index], here ? value(agents[need], frame, agent) : 0));
    does.textContent = doing(frame, agent);
    wallet.textContent = here ? value(agents.wallet, frame, agent).toFixed(2) : "";
    const [word, tone] = shiftOf(frame, agent);
    pill.textContent = word;
    pill.dataset.tone = tone;
    if (word.startsWith("at work")) tally["at work"] += 1;
    if (word === "late" || word === "absent") tally[word] += 1;
  });
  const hasJobs = town.people.some(({ job }) => job !== null);
  counts.textContent = hasJobs ? Object.entries(tally).map(([word, number]) => `${number} ${word}`).join(" · ") : "";
}

function buildPlaces() {
  town.things.forEach((thing) => {
    const picture = draw("svg", { viewBox: "0 0 24 24", class: "icon" }, ...icon(thing.kind));
    const [state, stock] = [make("span.state"), make("span.wallet")];
    const row = make("li", picture, make("span.label", thing.label), state, stock);
    row.style.setProperty("--kind", town.colours[thing.kind]);
    placeRows.push({ row, state, stock, shown: "" });
    document.getElementById("things").append(row);
  });
  document.querySelector(".things").hidden = town.things.length === 0;
}

function paintPlaces(frame) {
  placeRows.forEach((entry, thing) => {
    const users = usersOf(frame, thing), waiting = queueAt(frame, thing);
    const key = `${users}|${waiting}`;
    if (entry.shown !== key) {  // chips are made anew only where somebody came or went, so that they can be clicked
      entry.shown = key;
      entry.state.replaceChildren(...users.map(chip));
      if (waiting.length) entry.state.append(make("span.arrow", users.length ? "← next" : "next"), ...waiting.map(chip));
      if (!users.length && !waiting.length) entry.state.append(make("span.free", "free"));
    }
    entry.stock.textContent = town.things[thing].kind === "fridge" ? `${value(things.stock, frame, thing)} meals` : "";
  });
}

function paintCity(frame) {
  const running = Object.entries(perturbations).filter(([, table]) => value(table, frame) > 0);
  city.replaceChildren(...running.map(([kind, table]) =>
    make("span.alarm", `${CITY[kind] ?? kind} · ${value(table, frame)} ticks`)));
}

function eventRow(event, frame) {
  const row = make("li", make("time", String(event.tick)), make("span", ...spoken(event)));
  row.dataset.tone = TONES[event.kind] ?? "none";
  row.classList.toggle("now", event.tick === frame);
  row.querySelector("time").addEventListener("click", () => seek(event.tick));
  return row;
}

// The latest events, newest first, that a test lets through.
function latest(frame, length, isShown) {
  const found = [];
  for (let index = eventsUntil(frame) - 1; index >= 0 && found.length < length; index -= 1) {
    if (isShown(events[index])) found.push(events[index]);
  }
  return found;
}

let tickerShown = "";
function paintEvents(frame) {
  const shown = latest(frame, TICKER_LENGTH, (event) => routine.checked || !ROUTINE.has(event.kind));
  const key = `${shown[0]?.index}|${shown[0]?.tick === frame}|${routine.checked}`;
  if (key === tickerShown) return;
  tickerShown = key;
  ticker.replaceChildren(...shown.map((event) => eventRow(event, frame)));
  if (shown.length === 0) ticker.append(make("li.empty", "Nothing yet."));
}
