/* Charts: each [data-chart] is drawn from the figures in that attribute, and again when they, the theme or the width
   change. Bars stand in front of each other, the largest behind: read within delivered within sent. Arrow keys go from
   bar to bar; what one says is read out. The table beside it has the same figures for whoever sees no chart. */
(() => {
  "use strict";
  const whole = new Intl.NumberFormat("en-GB");
  const short = new Intl.NumberFormat("en-GB", { notation: "compact", maximumFractionDigits: 1 });
  const plots = new Map();
  const watched = new WeakSet();

  /* A canvas cannot read light-dark(); a probe element resolves the token. */
  const colour = (meaning, token) => {
    const probe = document.createElement("i");
    probe.className = meaning;
    probe.style.color = `var(${token})`;
    document.body.append(probe);
    const value = getComputedStyle(probe).color;
    probe.remove();
    return value;
  };

  function draw(figure) {
    plots.get(figure)?.destroy();
    const spec = JSON.parse(figure.dataset.chart);
    const output = figure.querySelector("output");
    const count = spec.spoken.length;
    const say = (i) => {
      output.textContent = i == null ? output.dataset.rest
        : `${spec.spoken[i]}: ${spec.says.map((s) => `${whole.format(s.values[i])} ${s.word}`).join(", ")}`;
    };
    const width = () => Math.max(figure.clientWidth - 16, 120);
    const marks = (space) => {
      const every = Math.max(1, Math.ceil((spec.marks.length * space) / width()));
      return spec.marks.filter((_, n) => n % every === 0);
    };
    const axis = { stroke: colour("", "--muted"), font: "12px Inter, system-ui, sans-serif", ticks: { show: false } };
    const plot = new uPlot({
      width: width(), height: 236, padding: [10, 8, 0, 0], legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
      scales: { x: { time: false, range: [-0.5, count - 0.5] }, y: { range: (u, low, high) => [0, Math.max(high * 1.06, 4)] } },
      axes: [
        { ...axis, size: 30, grid: { show: false }, splits: () => marks(64).map(([i]) => i), values: () => marks(64).map(([, word]) => word) },
        { ...axis, size: 46, grid: { stroke: colour("", "--line"), width: 1 }, incrs: [1, 2, 5].flatMap((n) => [n, n * 10, n * 100, n * 1e3, n * 1e4, n * 1e5, n * 1e6, n * 1e7]).sort((a, b) => a - b), values: (u, all) => all.map((n) => short.format(n)), space: 36 },
      ],
      series: [{}, ...spec.bars.map((bar) => ({
        fill: colour(`k-${bar.kind}`, "--ks"), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.76, 44], radius: 0.1 }),
      }))],
      hooks: { setCursor: [(u) => say(u.cursor.idx)] },
    }, [[...Array(count).keys()], ...spec.bars.map((bar) => bar.values)], figure);
    plots.set(figure, plot);
    if (watched.has(figure)) return;
    watched.add(figure);
    new ResizeObserver(() => plots.get(figure).setSize({ width: width(), height: 236 })).observe(figure);
    new MutationObserver(() => draw(figure)).observe(figure, { attributeFilter: ["data-chart"] });
    figure.addEventListener("blur", () => plots.get(figure).setCursor({ left: -10, top: -10 }));
    figure.addEventListener("keydown", (event) => {
      const at = plots.get(figure), last = at.data[0].length - 1, now = at.cursor.idx;
      const to = { ArrowRight: (now ?? -1) + 1, ArrowLeft: (now ?? last + 1) - 1, Home: 0, End: last }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      at.setCursor({ left: at.valToPos(Math.min(last, Math.max(0, to)), "x"), top: 0 });
    });
  }

  const all = () => {
    for (const figure of plots.keys()) if (!figure.isConnected) plots.delete(figure);
    document.querySelectorAll("[data-chart]").forEach(draw);
  };
  all();
  new MutationObserver(all).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });
  document.addEventListener("htmx:after:settle", () => { // one that was not there before
    for (const figure of document.querySelectorAll("[data-chart]")) if (!plots.has(figure)) draw(figure);
  });
})();
