// Draws each chart when it comes into view, in the colours of the page, and again when the page turns dark or light.
(function () {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const narrow = () => window.innerWidth < 600;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function layoutOf(figure) {
    const text = colour("--text"), line = colour("--line");
    const layout = Object.assign({}, figure.layout, {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: text, family: "system-ui, sans-serif", size: narrow() ? 11 : 13 },
      hoverlabel: { font: { size: 12 } }, dragmode: narrow() ? false : "zoom",
    });
    for (const axis of ["xaxis", "yaxis"]) {
      layout[axis] = Object.assign({ gridcolor: line, zerolinecolor: text, linecolor: line }, figure.layout[axis]);
    }
    // More labels than have room side by side are turned, and run into the title.
    if (narrow() && layout.xaxis.nticks) layout.xaxis.nticks = 3;
    return layout;
  }

  function draw(place) {
    const figure = figures[place.dataset.figure];
    if (figure.least) place.style.minWidth = figure.least + "px";
    place.style.height = figure.layout.height + "px";
    Plotly.react(place, figure.data, layoutOf(figure), { responsive: true, displaylogo: false, displayModeBar: false });
  }

  const drawn = new Set();
  const places = [...document.querySelectorAll("[data-figure]")];
  places.forEach((place) => { place.style.height = figures[place.dataset.figure].layout.height + "px"; });
  function show(place) { if (!drawn.has(place)) { drawn.add(place); draw(place); } }
  const watch = new IntersectionObserver((seen) => {
    seen.filter((each) => each.isIntersecting).forEach((each) => { watch.unobserve(each.target); show(each.target); });
  }, { rootMargin: "600px" });
  places.forEach((place) => watch.observe(place));
  window.addEventListener("beforeprint", () => places.forEach(show));
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach(draw));
})();
