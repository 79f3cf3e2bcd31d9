// The panel of the one who is followed: needs over the day, money, job, what it does, rewards, its own events.
const panel = document.getElementById("follow");
const CHART = { width: 300, height: 84 };
let parts = null;

function buildFollow(agent) {
  panel.classList.toggle("is-empty", agent === null);
  parts = null;
  if (agent === null) {
    panel.replaceChildren(make("p.hint", "Click somebody on the map or in the list to follow them."));
    return;
  }
  const { colour, job, shift } = town.people[agent];
  panel.style.setProperty("--colour", colour);
  const close = make("button.close", "×");
  close.title = "Follow nobody (Escape)";
  close.addEventListener("click", () => follow(null));
  parts = { agent, does: make("p.does"), pill: make("span.pill"), life: make("span.life"), wallet: make("b"), last: make("b"), sum: make("b") };
  const work = job ? `works at the ${job}, ticks ${shift[0]} to ${shift[1]}` : "has no job";
  parts.needs = NEEDS.map((need) => {
    const { bar, fill } = meter(need);
    const number = make("b");
    return { need, bar, fill, number, row: make("div.need", make("span", need), bar, number) };
  });
  parts.cursor = draw("line", { class: "cursor", y1: 0, y2: CHART.height });
  parts.terms = Object.entries(terms).map(([name, table]) => termRow(name, table, agent));
  parts.events = make("ol");
  panel.replaceChildren(
    make("div.head", make("span.badge.big", String(agent)), make("div", make("h2", `Agent ${agent} `, parts.life), make("p.work", work)), parts.pill, close),
    parts.does, ...parts.needs.map(({ row }) => row), chart(agent, parts.cursor),
    make("div.numbers", make("div", parts.wallet, "meals of money"), make("div", parts.last, "last reward"), make("div", parts.sum, "so far")),
    make("div.terms", make("div.term.title", make("span", "reward term"), make("span"), make("span", "last"), make("span", "so far")), ...parts.terms.map(({ row }) => row)),
    make("h3", "Lately"), parts.events);
}

function termRow(name, table, agent) {
  let most = 1e-6;
  for (let frame = 0; frame <= lastFrame; frame += 1) most = Math.max(most, Math.abs(value(table, frame, agent)));
  const [fill, last, sum] = [make("i"), make("b.last"), make("b.sum")];
  const row = make("div.term", make("span", name), make("span.balance", fill), last, sum);
  row.dataset.term = name;
  return { table, most, fill, last, sum, row };
}

function chart(agent, cursor) {
  const { width, height } = CHART;
  const picture = draw("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none" });
  for (const share of [0.25, 0.5, 0.75]) {
    picture.append(draw("line", { class: "guide", x1: 0, x2: width, y1: height * share, y2: height * share }));
  }
  const step = Math.max(1, Math.floor(town.frames / 600));
  for (const need of NEEDS) {
    let path = "", isDrawing = false;
    for (let frame = 0; frame <= lastFrame; frame += step) {
      if (!isPresent(frame, agent)) { isDrawing = false; continue; }
      const x = (frame / Math.max(lastFrame, 1)) * width, y = 2 + (1 - value(agents[need], frame, agent)) * (height - 4);
      path += `${isDrawing ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
      isDrawing = true;
    }
    picture.append(draw("path", { class: need, d: path }));
  }
  picture.append(cursor);
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    seek(Math.round(((event.clientX - box.left) / box.width) * lastFrame));
  });
  return picture;
}

function paintFollow(frame) {
  if (parts === null) return;
  const { agent } = parts;
  const here = isPresent(frame, agent);
  panel.classList.toggle("gone", !here);
  parts.does.textContent = doing(frame, agent);
  const life = value(agents.life, frame, agent);
  parts.life.textContent = life > 0 ? `life ${life + 1}` : "";
  const [word, tone] = shiftOf(frame, agent);
  parts.pill.textContent = word;
  parts.pill.dataset.tone = tone;
  for (const entry of parts.needs) {
    const share = here ? value(agents[entry.need], frame, agent) : 0;
    fillMeter(entry, share);
    entry.number.textContent = here ? `${Math.round(share * 100)} %` : "–";
  }
  parts.wallet.textContent = here ? value(agents.wallet, frame, agent).toFixed(2) : "–";
  parts.last.textContent = signed(value(agents.reward, frame, agent));
  parts.sum.textContent = signed(total(agents.reward, frame, agent), 2);
  for (const { table, most, fill, last, sum } of parts.terms) {
    const now = value(table, frame, agent);
    fill.style.transform = `scaleX(${now / most})`;
    fill.className = now < 0 ? "minus" : "plus";
    last.textContent = now === 0 ? "0" : signed(now);
    sum.textContent = signed(total(table, frame, agent), 2);
  }
  const x = (frame / Math.max(lastFrame, 1)) * CHART.width;
  parts.cursor.setAttribute("x1", x);
  parts.cursor.setAttribute("x2", x);
  const own = latest(frame, 4, (event) => concerns(event, agent));
  const key = `${own[0]?.index}|${own[0]?.tick === frame}`;
  if (key === parts.shown) return;
  parts.shown = key;
  parts.events.replaceChildren(...own.map((event) => eventRow(event, frame)));
  if (own.length === 0) parts.events.append(make("li.empty", "Nothing yet."));
}
