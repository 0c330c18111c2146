/* The parts of a run's live view other than its curves: head, times, log, samples, and how far the listed runs are.
   All texts enter by textContent. Runs after charts.js, once per mount of the component. */
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
const view = { run: null, rows: [], panels: [], beside: [], busy: [], events: null, changes: 0, received: 0, source: null, drawn: 0, samplesAt: null };
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
  at('campaign').textContent = [run.campaign, run.slot && `on ${run.slot}`].filter(Boolean).join(' · ');
  at('tags').replaceChildren(...(run.tags || []).map((tag) => make('span', { class: 'chip' }, tag)));
  at('silent').hidden = !run.notice;
  at('silent').textContent = run.notice ? run.notice + (run.silent ? ' If its log does not move either, cancel it and resume it from its checkpoint.' : '') : '';
  at('cancel').textContent = run.cancelling ? 'Cancelling…' : 'Cancel run';
  at('progress').hidden = ended(run);
  const share = Math.round(100 * Math.min(1, run.total ? run.step / run.total : 0));
  at('fill').style.width = `${share}%`;
  at('progress').setAttribute('aria-valuenow', String(share));
  drawTimes();
}
const endsAt = (run, passed) => { // the clock time of the end, where it is known
  const left = Number.isFinite(run.remaining) ? run.remaining : run.ends_in;
  if (!Number.isFinite(left)) return [];
  const end = new Date(Date.now() + 1000 * Math.max(0, left - passed));
  const clock = end.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
  return [`ends about ${left > 72000 ? `${end.toLocaleDateString()} ` : ''}${clock}`];
};
function drawTimes() {
  const run = view.run;
  if (!run) return;
  const passed = ended(run) ? 0 : (performance.now() - view.received) / 1000;
  const parts = [ended(run) ? `took ${Charts.duration(run.elapsed)}` : `${Charts.duration(run.elapsed + passed)} elapsed`];
  if (!ended(run) && run.total) parts.unshift(`step ${run.step} of ${run.total}`);
  if (!ended(run) && Number.isFinite(run.remaining)) parts.push(`about ${Charts.duration(Math.max(0, run.remaining - passed))} left`);
  if (!ended(run) && run.state !== 'queued') parts.push(...endsAt(run, passed));
  if (run.state === 'queued' && run.place) parts.push(run.place === 1 ? 'next in the queue' : `number ${run.place} in the queue`);
  if (run.state === 'queued' && Number.isFinite(run.starts_in)) parts.push(`starts in about ${Charts.duration(Math.max(0, run.starts_in - passed))}`);
  if (run.state === 'queued' && Number.isFinite(run.ends_in)) parts.push(...endsAt({ remaining: run.ends_in }, passed));
  if (!ended(run) && run.message) parts.push(run.message);
  at('times').textContent = parts.join(' · ');
}

/* How busy the device was while this page looked on: the stream tells the moment, the page remembers. Its height is all of it */
const BUSY = { width: 160, height: 22, most: 400 };
function drawUse(use, busy) {
  if (Number.isFinite(busy)) view.busy = [...view.busy, [performance.now() / 1000, busy]].slice(-BUSY.most);
  at('use').textContent = use ? `Device use: ${use}` : '';
  const [first, last] = [view.busy[0], view.busy[view.busy.length - 1]];
  at('busy').hidden = !use || view.busy.length < 2;
  if (at('busy').hidden) return;
  const { width, height } = BUSY;
  const scale = { x: (at) => ((at - first[0]) / (last[0] - first[0])) * width, y: (share) => height - 1 - Math.min(1, share) * (height - 2) };
  const told = `${Math.round(100 * last[1])} % busy now; the curve shows the last ${Charts.duration(last[0] - first[0])}`;
  const svg = shape('svg', { width, height, viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': told });
  svg.append(shape('title', {}, told), shape('path', { d: pathOf(view.busy, scale), class: 'curve c0' }));
  at('busy').replaceChildren(svg);
}

function drawLog({ tail, use, busy }) {
  const box = at('log'), lines = tail.split('\n');
  const below = box.scrollTop + box.clientHeight >= box.scrollHeight - 8; // somebody who reads further up stays there
  at('loggings').hidden = !tail;
  box.textContent = tail;
  at('last').textContent = lines[lines.length - 1].slice(0, 160);
  if (below) box.scrollTop = box.scrollHeight;
  drawUse(use, busy);
}

/* Samples: those of one step, the newest unless another was chosen by the slider */
function drawSamples() {
  const samples = view.rows.filter((row) => typeof row.sample === 'string');
  const steps = [...new Set(samples.map((row) => row.step))].sort((a, b) => a - b);
  const slider = at('when');
  at('samples').hidden = samples.length === 0;
  if (!samples.length) return;
  const place = view.samplesAt === null ? steps.length - 1 : Math.max(0, steps.indexOf(view.samplesAt));
  slider.max = String(steps.length - 1);
  slider.value = String(place);
  slider.setAttribute('aria-valuetext', `step ${steps[place]}`);
  at('slide').hidden = steps.length < 2;
  at('step').textContent = `step ${steps[place]}${place === steps.length - 1 ? ', the newest' : ''}`;
  const shown = samples.filter((row) => row.step === steps[place]).slice(-6);
  const key = JSON.stringify([steps[place], shown.length]);
  if (at('texts').dataset.key === key) return; // a text that is being read keeps its place
  at('texts').dataset.key = key;
  at('texts').replaceChildren(...shown.map((row) => make('div', { class: 'sample', tabindex: '0' }, row.sample)));
}
at('when').addEventListener('input', () => {
  const steps = [...new Set(view.rows.filter((row) => typeof row.sample === 'string').map((row) => row.step))].sort((a, b) => a - b);
  const place = Number(at('when').value);
  view.samplesAt = place === steps.length - 1 ? null : steps[place];
  drawSamples();
});

/* How far the unfinished runs of the list are; their cards are markup from the server */
function drawGoing(going) {
  for (const run of going) {
    const card = document.querySelector(`#run-list [data-card="${CSS.escape(run.run)}"]`);
    if (!card || run.state === 'queued') continue;
    const bar = card.querySelector('.bar i'), words = card.querySelector('[data-words]');
    if (bar && run.total) bar.style.width = `${100 * Math.min(1, run.step / run.total)}%`;
    if (words) words.textContent = Charts.duration(run.elapsed) + (Number.isFinite(run.remaining) ? ` · about ${Charts.duration(run.remaining)} left` : '');
  }
}
