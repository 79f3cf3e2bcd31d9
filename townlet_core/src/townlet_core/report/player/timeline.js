// The timeline above the slider: when shifts are, what came over the town, and how much happened when.
const timeline = document.getElementById("timeline");
const slider = document.getElementById("slider");
const THUMB = 16;

function drawTimeline() {
  const style = getComputedStyle(document.documentElement);
  const scale = window.devicePixelRatio || 1;
  const width = timeline.clientWidth, height = timeline.clientHeight;
  timeline.width = Math.round(width * scale);
  timeline.height = Math.round(height * scale);
  const pen = timeline.getContext("2d");
  pen.scale(scale, scale);
  const at = (frame) => THUMB / 2 + (frame / Math.max(lastFrame, 1)) * (width - THUMB);
  drawCity(pen, at, height, style);
  drawEvents(pen, width, height, style);
  drawShifts(pen, at, height, style);
}

function drawCity(pen, at, height, style) {
  pen.fillStyle = style.getPropertyValue("--warn");
  pen.globalAlpha = 0.22;
  for (const table of Object.values(perturbations)) {
    for (let frame = 0; frame <= lastFrame; frame += 1) {
      const first = frame;
      while (frame <= lastFrame && value(table, frame) > 0) frame += 1;
      if (frame > first) pen.fillRect(at(first), 0, at(frame) - at(first), height);
    }
  }
  pen.globalAlpha = 1;
}

// Bars of a few pixels: good things upwards, bad and doubtful ones downwards.
function drawEvents(pen, width, height, style) {
  const bar = 4, count = Math.max(Math.floor((width - THUMB) / bar), 1);
  const bins = { good: new Float64Array(count), bad: new Float64Array(count), warn: new Float64Array(count) };
  for (const event of events) {
    const tone = TONES[event.kind];
    if (tone) bins[tone][Math.min(Math.floor((event.tick / Math.max(lastFrame, 1)) * count), count - 1)] += 1;
  }
  let most = 4;
  for (let i = 0; i < count; i += 1) most = Math.max(most, bins.good[i], bins.bad[i] + bins.warn[i]);
  const middle = (height - 6) / 2, unit = (middle - 1) / Math.sqrt(most);
  const size = (number) => Math.sqrt(number) * unit;
  for (let i = 0; i < count; i += 1) {
    const x = THUMB / 2 + i * bar;
    pen.fillStyle = style.getPropertyValue("--good");
    pen.fillRect(x, middle - size(bins.good[i]), bar - 1, size(bins.good[i]));
    pen.fillStyle = style.getPropertyValue("--bad");
    pen.fillRect(x, middle + 1, bar - 1, size(bins.bad[i]));
    pen.fillStyle = style.getPropertyValue("--warn");
    const from = size(bins.bad[i]);
    pen.fillRect(x, middle + 1 + from, bar - 1, size(bins.bad[i] + bins.warn[i]) - from);
  }
  pen.fillStyle = style.getPropertyValue("--line");
  pen.fillRect(THUMB / 2, middle, width - THUMB, 1);
}

function drawShifts(pen, at, height) {
  const shifts = new Map();
  for (const { job, shift } of town.people) if (job) shifts.set(`${job}:${shift}`, { job, shift });
  for (const { job, shift: [begin, end] } of shifts.values()) {
    pen.fillStyle = town.colours[job];
    for (let day = 0; day * town.dayTicks - town.startTick <= lastFrame; day += 1) {
      const from = Math.max(day * town.dayTicks + begin - town.startTick, 0);
      const to = Math.min(day * town.dayTicks + end - town.startTick, lastFrame);
      if (to > from) pen.fillRect(at(from), height - 4, at(to) - at(from), 3);
    }
  }
}
