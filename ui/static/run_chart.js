/* What a run's live view draws: head, progress, curves and samples, fed by the page's value and then by
   server-sent events. All texts enter by textContent. Runs after charts.js, once per mount of the component. */
const SVG = 'http://www.w3.org/2000/svg';
const at = (name) => element.querySelector(`[data-at="${name}"]`);
const make = (tag, attributes = {}, text = null) => {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  return node;
};
const shape = (tag, attributes, text = null) => {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  return node;
};
const view = { run: null, rows: [], panels: [], beside: [], events: null, received: 0, source: null, drawn: 0 };
const ended = (run) => ['succeeded', 'failed', 'cancelled'].includes(run.state);
const tones = { succeeded: 'good', failed: 'bad', cancelled: '', queued: 'busy', starting: 'busy', running: 'busy', finishing: 'busy' };

function drawHead() {
  const run = view.run;
  at('title').textContent = run.run;
  at('kind').textContent = run.kind;
  at('state').textContent = run.state;
  at('state').className = `chip ${tones[run.state] ?? ''}`;
  at('cancel').hidden = ended(run);
  at('cancel').disabled = Boolean(run.cancelling);
  at('tags').textContent = (run.tags || []).join(' · ');
  at('silent').hidden = !run.silent;
  at('silent').textContent = run.silent ? `Its process runs, but it has said nothing for ${Charts.duration(run.silent)}.` : '';
  at('cancel').textContent = run.cancelling ? 'Cancelling…' : 'Cancel run';
  at('progress').hidden = ended(run);
  at('fill').style.width = `${100 * Math.min(1, run.total ? run.step / run.total : 0)}%`;
  drawTimes();
}
function drawTimes() {
  const run = view.run;
  if (!run) return;
  const passed = ended(run) ? 0 : (performance.now() - view.received) / 1000;
  const parts = [ended(run) ? `took ${Charts.duration(run.elapsed)}` : `${Charts.duration(run.elapsed + passed)} elapsed`];
  if (!ended(run) && run.total) parts.unshift(`step ${run.step} of ${run.total}`);
  if (!ended(run) && Number.isFinite(run.remaining)) parts.push(`about ${Charts.duration(Math.max(0, run.remaining - passed))} left`);
  if (run.state === 'queued' && run.place) parts.push(run.place === 1 ? 'next in the queue' : `number ${run.place} in the queue`);
  if (!ended(run) && run.message) parts.push(run.message);
  at('times').textContent = parts.join(' · ');
}

const PLOT = { height: 168, left: 46, right: 10, top: 8, bottom: 22 };
function scales(lines, panel, width) {
  const points = lines.flatMap((line) => line.points);
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
function drawLines(svg, scale, lines) {
  lines.forEach(({ points, beside }, k) => {
    const thinned = Charts.thin(points, 400);
    const path = thinned.map(([step, value], i) => `${i ? 'L' : 'M'}${scale.x(step).toFixed(1)} ${scale.y(value).toFixed(1)}`).join('');
    svg.append(shape('path', { d: path, class: `curve c${k % 4}${beside ? ' beside' : ''}` }));
    const last = points[points.length - 1];
    svg.append(shape('circle', { cx: scale.x(last[0]), cy: scale.y(last[1]), r: 3, class: `dot c${k % 4}` }));
  });
}
function linesOf(panel) { // the shown run's lines, then those of the runs beside it, dashed
  const weight = Number(at('smooth').value), told = [{ run: '', rows: view.rows }, ...view.beside];
  return told.flatMap(({ run, rows }) => panel.series.map(([name, label]) => (
    { label: run ? `${label} · ${run}` : label, points: Charts.smoothed(Charts.series(rows, name), weight), beside: Boolean(run) }
  ))).filter((line) => line.points.length);
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
function drawSamples() {
  const samples = view.rows.filter((row) => typeof row.sample === 'string').slice(-6).reverse();
  at('samples').hidden = samples.length === 0;
  at('texts').replaceChildren(...samples.map((row) => {
    const item = make('div', { class: 'sample' }, row.sample);
    item.prepend(make('small', {}, `step ${row.step}`));
    return item;
  }));
}
let planned = 0;
function draw() {
  if (planned) return;
  planned = requestAnimationFrame(() => { planned = 0; drawHead(); drawCurves(); drawSamples(); });
}

function disconnect() {
  view.source?.close();
  view.source = null;
}
function connect() {
  disconnect();
  if (!view.run || !view.events || ended(view.run) || document.hidden) return;
  const source = new EventSource(`${view.events}?after=${view.rows.length}`);
  view.source = source;
  const on = (name, act) => source.addEventListener(name, (event) => {
    if (view.source !== source) return;
    if (!element.isConnected) return disconnect();
    act(JSON.parse(event.data));
  });
  on('rows', ({ from, rows }) => { if (from <= view.rows.length) { view.rows = view.rows.slice(0, from).concat(rows); draw(); } });
  on('run', (run) => { view.run = run; view.received = performance.now(); at('lost').hidden = true; draw(); });
  on('log', ({ tail, use }) => { at('loggings').hidden = !tail; at('log').textContent = tail; at('use').textContent = use; });
  on('end', () => { disconnect(); trigger('ended', { run: view.run.run }); });
  source.onerror = () => { at('lost').hidden = false; if (source.readyState === EventSource.CLOSED) { view.source = null; setTimeout(() => element.isConnected && connect(), 5000); } };
}
function take() {
  const value = props.value;
  const body = at('body');
  body.hidden = !value?.run;
  at('none').hidden = Boolean(value?.run);
  disconnect();
  const another = Boolean(view.run) && value?.run?.run !== view.run.run;
  if (!value?.run) { view.run = null; element.dataset.run = ''; return; }
  Object.assign(view, { run: value.run, rows: value.rows, panels: value.panels, beside: value.beside || [], events: value.events, received: performance.now() });
  element.dataset.run = value.run.run;
  at('lost').hidden = true;
  draw();
  connect();
  if (another && window.innerWidth < 760) element.scrollIntoView({ behavior: 'smooth' });
  const address = new URL(location.href);
  if (address.searchParams.get('run') !== value.run.run) { address.searchParams.set('run', value.run.run); history.replaceState(history.state, '', address); }
}

at('cancel').addEventListener('click', () => {
  if (window.confirm(`Cancel run ${view.run.run}? It saves a checkpoint and ends.`)) trigger('cancel', { run: view.run.run });
});
at('smooth').addEventListener('input', () => { if (view.run) draw(); });
const life = new AbortController();
const alive = (act) => () => (element.isConnected ? act() : (life.abort(), disconnect()));
document.addEventListener('visibilitychange', alive(() => (document.hidden ? disconnect() : connect())), { signal: life.signal });
new ResizeObserver(() => { if (element.clientWidth !== view.drawn) { view.drawn = element.clientWidth; if (view.run) draw(); } }).observe(element);
const clock = setInterval(() => { if (!element.isConnected) { clearInterval(clock); disconnect(); } else if (view.source) drawTimes(); }, 1000);
watch('value', take);
take();
