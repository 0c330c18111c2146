/* The curves of a run: panels of lines drawn as SVG, with a legend that follows the pointer. Uses view, at, make and shape. */
const PLOT = { height: 168, left: 46, right: 10, top: 8, bottom: 22 };
function scales(lines, panel, width) {
  const points = lines.flatMap((line) => line.raw);
  const steps = points.map(([step]) => step);
  const [x0, x1] = [Math.min(...steps), Math.max(...steps)];
  const [y0, y1] = Charts.range(points.map(([, value]) => value), panel);
  const x = (step) => PLOT.left + ((step - x0) / (x1 - x0 || 1)) * (width - PLOT.left - PLOT.right);
  const y = (value) => PLOT.height - PLOT.bottom - ((value - y0) / (y1 - y0 || 1)) * (PLOT.height - PLOT.top - PLOT.bottom);
  return { x, y, x0, x1, y0, y1 };
}
function drawGrid(svg, scale, panel, width) {
  const right = width - PLOT.right;
  for (const tick of Charts.ticks(scale.y0, scale.y1, 4)) {
    svg.append(shape('line', { x1: PLOT.left, x2: right, y1: scale.y(tick), y2: scale.y(tick), class: 'grid' }));
    svg.append(shape('text', { x: PLOT.left - 6, y: scale.y(tick) + 3.5, class: 'tick end' }, Charts.number(tick)));
  }
  for (const tick of Charts.ticks(scale.x0, scale.x1, Math.max(2, width / 90))) {
    svg.append(shape('text', { x: scale.x(tick), y: PLOT.height - 6, class: 'tick middle' }, Charts.number(tick)));
  }
  if (panel.line !== null && panel.line !== undefined) {
    svg.append(shape('line', { x1: PLOT.left, x2: right, y1: scale.y(panel.line), y2: scale.y(panel.line), class: 'mark' }));
  }
}
const pathOf = (points, scale) => Charts.thin(points, 400)
  .map(([step, value], i) => `${i ? 'L' : 'M'}${scale.x(step).toFixed(1)} ${scale.y(value).toFixed(1)}`).join('');
function drawLines(svg, scale, lines) {
  lines.forEach(({ points, raw, beside }, k) => {
    if (raw !== points) svg.append(shape('path', { d: pathOf(raw, scale), class: `curve raw c${k % 4}` })); // what was smoothed stays in sight
    svg.append(shape('path', { d: pathOf(points, scale), class: `curve c${k % 4}${beside ? ' beside' : ''}` }));
    const last = points[points.length - 1];
    svg.append(shape('circle', { cx: scale.x(last[0]), cy: scale.y(last[1]), r: 3, class: `dot c${k % 4}` }));
  });
}
function linesOf(panel) { // the shown run's lines, then those of the runs beside it, dashed
  const weight = Number(at('smooth').value), told = [{ run: '', rows: view.rows }, ...view.beside];
  return told.flatMap(({ run, rows }) => panel.series.map(([name, label]) => {
    const raw = Charts.series(rows, name);
    return { label: run ? `${label} · ${run}` : label, raw, points: weight ? Charts.smoothed(raw, weight) : raw, beside: Boolean(run) };
  })).filter((line) => line.points.length);
}
function drawPanel(panel, width) {
  const lines = linesOf(panel);
  const card = make('figure', { class: 'panel' });
  const caption = make('figcaption', {}, panel.title);
  if (panel.unit) caption.append(make('small', {}, panel.unit));
  const legend = make('div', { class: 'legend' });
  const values = lines.map((line, k) => {
    const item = make('span', { class: `c${k % 4}` }, line.label);
    legend.append(item);
    return item.appendChild(make('b'));
  });
  const show = (step) => lines.forEach((line, k) => {
    values[k].textContent = Charts.number((step === null ? line.points[line.points.length - 1] : Charts.nearest(line.points, step))[1]);
  });
  show(null);
  const scale = scales(lines, panel, width);
  const svg = shape('svg', { width, height: PLOT.height, viewBox: `0 0 ${width} ${PLOT.height}`, role: 'img', 'aria-label': `${panel.title} by step` });
  drawGrid(svg, scale, panel, width);
  drawLines(svg, scale, lines);
  const cursor = svg.appendChild(shape('line', { y1: PLOT.top, y2: PLOT.height - PLOT.bottom, class: 'cursor', visibility: 'hidden' }));
  svg.addEventListener('pointermove', (event) => {
    const share = (event.clientX - svg.getBoundingClientRect().left - PLOT.left) / (width - PLOT.left - PLOT.right);
    const step = scale.x0 + Math.min(1, Math.max(0, share)) * (scale.x1 - scale.x0);
    const found = Charts.nearest(lines[0].points, step)[0];
    cursor.setAttribute('x1', scale.x(found));
    cursor.setAttribute('x2', scale.x(found));
    cursor.setAttribute('visibility', 'visible');
    show(found);
  });
  svg.addEventListener('pointerleave', () => { cursor.setAttribute('visibility', 'hidden'); show(null); });
  card.append(caption, legend, svg);
  return card;
}
function drawCurves() {
  const { known, extra } = Charts.filled(view.rows, view.panels, ended(view.run) ? 2 : 1); // at the end one value is in the result, not a curve
  for (const [name, panels] of [['curves', known], ['extra', extra]]) {
    const grid = at(name);
    const columns = Math.max(1, Math.min(3, Math.floor((element.clientWidth + 12) / 340)));
    grid.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
    const width = Math.max(220, Math.floor((element.clientWidth - 12 * (columns - 1)) / columns) - 26);
    grid.replaceChildren(...panels.map((panel) => drawPanel(panel, width)));
  }
  at('more').hidden = extra.length === 0;
  at('tools').hidden = view.rows.length < 3;
  at('waiting').hidden = view.rows.length > 0 || ended(view.run);
  element.dataset.points = String(view.rows.length);
}
