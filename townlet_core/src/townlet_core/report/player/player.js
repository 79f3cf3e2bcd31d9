// Time: which frame is shown, whether it runs, how fast, and who is followed.
const SPEEDS = [1, 2, 5, 10, 20, 50, 100, 250];
const shown = { frame: 0, followed: null, isPlaying: false, speed: 10 };
const speed = document.getElementById("speed");
const playButton = document.getElementById("play");
const tickText = document.getElementById("tick");
const dayText = document.getElementById("day");

function paint(isSmooth = false) {
  const { frame, followed } = shown;
  paintMap(frame, followed, isSmooth);
  paintPeople(frame, followed);
  paintPlaces(frame);
  paintCity(frame);
  paintEvents(frame);
  paintFollow(frame);
  slider.value = frame;
  const dayTick = frame + town.startTick;
  tickText.textContent = `${frame}`;
  dayText.textContent = `of ${lastFrame} · day ${Math.floor(dayTick / town.dayTicks) + 1}`;
  document.body.dataset.frame = frame;
}

function seek(frame, isSmooth = false) {
  shown.frame = Math.max(0, Math.min(lastFrame, frame));
  paint(isSmooth);
}

function follow(agent) {
  shown.followed = agent;
  buildFollow(agent);
  paint();
}

function setPlaying(isPlaying) {
  if (isPlaying && shown.frame >= lastFrame) seek(0);
  shown.isPlaying = isPlaying;
  owed = 0;
  document.body.classList.toggle("playing", isPlaying);
  playButton.setAttribute("aria-label", isPlaying ? "Pause" : "Play");
}

function setSpeed(number) {
  shown.speed = number;
  speed.value = String(number);
  map.style.setProperty("--step", `${Math.min(1000 / number, 200)}ms`);
}

function changeSpeed(by) {
  const index = SPEEDS.indexOf(shown.speed) + by;
  if (index >= 0 && index < SPEEDS.length) setSpeed(SPEEDS[index]);
}

let before = 0, owed = 0;
function run(now) {
  if (shown.isPlaying) {
    owed += (Math.min(now - before, 250) / 1000) * shown.speed;
    const ticks = Math.floor(owed);
    if (ticks > 0) {
      owed -= ticks;
      seek(shown.frame + ticks, shown.speed <= 20);
      if (shown.frame >= lastFrame) setPlaying(false);
    }
  }
  before = now;
  requestAnimationFrame(run);
}

const KEYS = {
  " ": () => setPlaying(!shown.isPlaying),
  ArrowLeft: (event) => step(event.shiftKey ? -10 : -1),
  ArrowRight: (event) => step(event.shiftKey ? 10 : 1),
  ArrowUp: () => changeSpeed(1),
  ArrowDown: () => changeSpeed(-1),
  Home: () => seek(0),
  End: () => seek(lastFrame),
  Escape: () => follow(null),
};

function step(ticks) {
  setPlaying(false);
  seek(shown.frame + ticks, Math.abs(ticks) === 1);
}

// The choice of the speed and the checkbox keep the keys that they are used with.
const hasOwnKeys = ({ target, key }) =>
  (target === speed && (key === " " || key.startsWith("Arrow"))) || (target === routine && key === " ");

function onKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (hasOwnKeys(event)) return;
  const action = KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  action(event);
}

// #tick=120&agent=2 opens the page at a tick, with somebody followed.
function readHash() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const agent = wanted.has("agent") ? Number(wanted.get("agent")) : null;
  if (agent !== null && Number.isInteger(agent) && agent >= 0 && agent < numPeople) follow(agent);
  const frame = Number(wanted.get("tick") ?? 0);
  if (Number.isInteger(frame)) seek(frame);
}

document.getElementById("name").textContent = town.name;
document.getElementById("description").textContent = town.description;
document.getElementById("policy").textContent = town.policy;
document.getElementById("seed").textContent = town.seed;
slider.max = lastFrame;
speed.append(...SPEEDS.map((number) => {
  const option = make("option", `${number} /s`);
  option.value = number;
  return option;
}));
slider.addEventListener("input", () => { setPlaying(false); seek(Number(slider.value)); });
speed.addEventListener("change", () => setSpeed(Number(speed.value)));
playButton.addEventListener("click", () => setPlaying(!shown.isPlaying));
document.getElementById("back").addEventListener("click", () => step(-1));
document.getElementById("forth").addEventListener("click", () => step(1));
routine.addEventListener("change", () => paint());
document.addEventListener("keydown", onKey);
document.addEventListener("keyup", (event) => { if (event.key === " " && !hasOwnKeys(event)) event.preventDefault(); });
window.addEventListener("hashchange", readHash);
window.addEventListener("resize", drawTimeline);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawTimeline);

drawMap();
buildPeople();
buildPlaces();
buildFollow(null);
setSpeed(10);
drawTimeline();
readHash();
requestAnimationFrame(run);
