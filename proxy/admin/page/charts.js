// The three charts of the page, drawn with uPlot in the colours of the stylesheet.

import uPlot from "./vendor/uplot-1.6.32.esm.js";

const HEIGHT = 300;
const FONT = "12px system-ui, sans-serif";
export const percent = (share) => (share === null ? "not known" : `${(100 * share).toFixed(share > 0 && share < 0.0995 ? 1 : 0)} %`);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function axis(label, values, more = {}) {
  return {
    label, labelFont: FONT, font: FONT, labelSize: 22, size: 46, values: (_, ticks) => ticks.map(values),
    stroke: colour("soft"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, ...more,
  };
}

class Chart {
  constructor(place) {
    this.place = place;
    this.plot = null;
    this.data = null;
    this.readout = document.createElement("p"); // the values at the pointer
    this.readout.className = "small readout";
    place.after(this.readout);
    new ResizeObserver(() => {
      if (this.plot && place.clientWidth) this.plot.setSize({ width: place.clientWidth, height: HEIGHT });
    }).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.data && this.draw(this.data));
  }

  draw(data) {
    this.data = data;
    this.plot?.destroy();
    this.plot = new uPlot(
      { width: this.place.clientWidth || 600, height: HEIGHT, legend: { show: false }, padding: [10, 26, 0, 0], ...this.options() },
      data, this.place,
    );
    this.plot.over.addEventListener("pointermove", () => {
      const { idx } = this.plot.cursor;
      this.readout.textContent = idx === null || idx === undefined ? "" : this.describe(idx);
    });
    this.plot.over.addEventListener("pointerleave", () => { this.readout.textContent = ""; });
  }
}

export class Curve extends Chart {
  // `moved(index)` is called with the index of the point that was dragged to.
  constructor(place, moved) {
    super(place);
    this.moved = moved;
    this.chosen = null;
    this.target = null;
  }

  show(points, target) {
    this.target = target;
    this.places = points.map((point, index) => [point, index]).filter(([point]) => point.risk !== null)
      .sort(([one, at], [other, then]) => one.coverage - other.coverage || then - at);
    const of = (field) => this.places.map(([point]) => point[field]);
    this.draw([of("coverage"), of("high"), of("low"), of("risk")]);
  }

  describe(index) {
    const [point] = this.places[index];
    return `Threshold ${+point.threshold.toPrecision(3)}: ${point.words}`;
  }

  choose(index) {
    this.chosen = this.places?.find(([, at]) => at === index)?.[0] ?? null;
    this.plot?.redraw(false);
  }

  options() {
    const top = Math.min(1, 1.1 * Math.max(0.05, this.target ?? 0, ...this.places.map(([point]) => point.risk), ...this.places.slice(-20).map(([point]) => point.high)));
    return {
      cursor: { x: false, y: false, points: { show: false }, drag: { x: false, y: false, setScale: false } },
      scales: { x: { time: false, range: [0, 1] }, y: { range: [0, top] } },
      axes: [axis("share of questions answered", percent, { size: 30 }), axis("share of answers wrong", percent, { size: 56 })],
      bands: [{ series: [1, 2], fill: colour("band") }],
      series: [{}, { stroke: "transparent", points: { show: false } }, { stroke: "transparent", points: { show: false } },
        { stroke: colour("accent"), width: 2, points: { show: false } }],
      hooks: { draw: [(plot) => this.mark(plot)], ready: [(plot) => this.listen(plot)] },
    };
  }

  mark(plot) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.lineWidth = devicePixelRatio;
    if (this.target !== null) {
      const y = plot.valToPos(this.target, "y", true);
      ctx.strokeStyle = colour("wrong");
      ctx.setLineDash([5, 4].map((part) => part * devicePixelRatio));
      ctx.beginPath(); ctx.moveTo(bbox.left, y); ctx.lineTo(bbox.left + bbox.width, y); ctx.stroke();
      ctx.fillStyle = colour("wrong");
      ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
      ctx.fillText(`target ${percent(this.target)}`, bbox.left + 6 * devicePixelRatio, y - 5 * devicePixelRatio);
    }
    if (this.chosen) {
      const x = plot.valToPos(this.chosen.coverage, "x", true);
      const y = plot.valToPos(this.chosen.risk, "y", true);
      ctx.strokeStyle = ctx.fillStyle = colour("ink");
      ctx.setLineDash([2, 3].map((part) => part * devicePixelRatio));
      ctx.beginPath(); ctx.moveTo(x, bbox.top); ctx.lineTo(x, bbox.top + bbox.height); ctx.stroke();
      ctx.setLineDash([]);
      ctx.beginPath(); ctx.arc(x, y, 6 * devicePixelRatio, 0, 2 * Math.PI); ctx.fill();
      ctx.strokeStyle = colour("paper"); ctx.lineWidth = 2 * devicePixelRatio; ctx.stroke();
    }
    ctx.restore();
  }

  listen(plot) {
    const follow = (event) => {
      const coverage = plot.posToVal(event.clientX - plot.over.getBoundingClientRect().left, "x");
      const near = this.places.reduce((best, each) =>
        Math.abs(each[0].coverage - coverage) < Math.abs(best[0].coverage - coverage) ? each : best, this.places[0]);
      if (near) this.moved(near[1]);
    };
    plot.over.addEventListener("pointerdown", (event) => {
      plot.over.setPointerCapture(event.pointerId);
      follow(event);
    });
    plot.over.addEventListener("pointermove", (event) => event.buttons && follow(event));
  }
}

export class Reliability extends Chart {
  show(bins) {
    this.bins = bins;
    this.draw([bins.map(([confidence]) => confidence), bins.map(([, right]) => right)]);
  }

  describe(index) {
    const [confidence, right, labels] = this.bins[index];
    return `Confidence ${percent(confidence)}: ${percent(right)} of ${labels} labelled answers right.`;
  }

  options() {
    return {
      cursor: { x: true, y: false, points: { show: false }, drag: { x: false, y: false, setScale: false } },
      scales: { x: { time: false, range: [0, 1] }, y: { range: [0, 1] } },
      axes: [axis("confidence", percent, { size: 30 }), axis("share right", percent, { size: 56 })],
      series: [{}, { stroke: colour("accent"), width: 2, points: { show: true, size: 9, fill: colour("accent"), stroke: colour("paper"), width: 2 } }],
      hooks: { drawAxes: [({ ctx, bbox }) => {
        ctx.save();
        ctx.strokeStyle = colour("soft");
        ctx.lineWidth = devicePixelRatio;
        ctx.setLineDash([5, 4].map((part) => part * devicePixelRatio));
        ctx.beginPath(); ctx.moveTo(bbox.left, bbox.top + bbox.height); ctx.lineTo(bbox.left + bbox.width, bbox.top); ctx.stroke();
        ctx.restore();
      }] },
    };
  }
}

export class Hour extends Chart {
  // All answers in the background, the served ones in front of them.
  show(minutes) {
    this.minutes = minutes;
    this.draw([minutes.map(({ at }) => at), minutes.map(({ all }) => all), minutes.map(({ answered }) => answered)]);
  }

  describe(index) {
    const { at, all, answered } = this.minutes[index];
    const time = new Date(1000 * at).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
    return `${time}: ${answered} answered, ${all - answered} withheld.`;
  }

  options() {
    const bars = uPlot.paths.bars({ size: [0.85, 40] });
    const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
    const series = (name) => ({ paths: bars, fill: colour(name), stroke: colour(name), width: 0, points: { show: false } });
    return {
      cursor: { x: true, y: false, points: { show: false }, drag: { x: false, y: false, setScale: false } },
      scales: { x: { range: (_, low, high) => [low - 30, high + 30] }, y: { range: (_, low, high) => [0, Math.max(4, high)] } },
      axes: [axis("", (at) => clock.format(1000 * at), { labelSize: 0, size: 30, space: 70 }), axis("answers per minute", String)],
      series: [{}, series("abstained"), series("right")],
    };
  }
}
