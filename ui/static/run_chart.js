/* A run's live view: the page's value first, then server-sent events; what is drawn is in run_parts.js and run_curves.js. */
let planned = 0;
function draw() {
  if (planned) return;
  planned = requestAnimationFrame(() => { planned = 0; if (view.run) { drawHead(); drawCurves(); drawSamples(); } });
}

function disconnect() {
  view.source?.close();
  view.source = null;
}
function connect() {
  disconnect();
  if (!view.events || document.hidden) return;
  const source = new EventSource(`${view.events}?run=${encodeURIComponent(view.run?.run ?? '')}&after=${view.rows.length}`);
  view.source = source;
  const on = (name, act) => source.addEventListener(name, (event) => {
    if (view.source !== source) return;
    if (!element.isConnected) return disconnect();
    act(JSON.parse(event.data));
  });
  on('rows', ({ from, rows }) => { if (from <= view.rows.length) { view.rows = view.rows.slice(0, from).concat(rows); draw(); } });
  on('run', (run) => { view.over = ended(view.run); view.run = run; view.received = performance.now(); draw(); });
  on('log', drawLog);
  on('end', () => { if (!view.over) { view.over = true; trigger('ended', { run: view.run.run }); } });
  on('runs', ({ changes, going }) => { drawGoing(going); if (changes !== view.changes) { view.changes = changes; trigger('listed', {}); } });
  source.onopen = () => { at('lost').hidden = true; };
  source.onerror = () => { at('lost').hidden = false; if (source.readyState === EventSource.CLOSED) { view.source = null; setTimeout(() => element.isConnected && connect(), 5000); } };
}
function take() {
  const value = props.value;
  const body = at('body');
  body.hidden = !value?.run;
  at('none').hidden = Boolean(value?.run);
  disconnect();
  const another = Boolean(view.run) && value?.run?.run !== view.run.run;
  at('lost').hidden = true;
  if (!value) return;
  if (value.run?.run !== view.run?.run) { view.samplesAt = null; at('loggings').hidden = true; view.busy = []; drawUse('', null); at('texts').dataset.key = ''; }
  const { run, rows, panels, beside, events, changes } = value;
  Object.assign(view, { run, rows, panels, beside: beside || [], events, changes, over: Boolean(run) && ended(run), received: performance.now() });
  element.dataset.run = run?.run ?? '';
  if (!run) return connect();
  draw();
  connect();
  if (another && window.innerWidth < 760) (document.querySelector('#run-failure .lead') ?? element).scrollIntoView({ behavior: 'smooth' }); // a failure stands above
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
