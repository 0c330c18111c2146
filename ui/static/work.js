// js_on_load of ui.work_page; in scope: element. Fills the page My work from /rank/work; all texts enter as text.
const find = (selector) => element.querySelector(selector);
const at = (name) => find(`[data-at="${name}"]`);
const SVG = 'http://www.w3.org/2000/svg';
const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === 'text') node.textContent = value; else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
};
const shape = (tag, attributes, text = '') => {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.textContent = text;
  return node;
};
const number = new Intl.NumberFormat('en'), offset = -new Date().getTimezoneOffset();
const say = (text) => { find('.live').textContent = text; };
const gone = new AbortController(), listen = { signal: gone.signal };
const asked = { search: '', campaign: null, next: null, turn: 0, pages: 1 };
const STATUS = { saved: ['saved', 'good'], revised: ['revised', 'accent'], surplus: ['kept as an extra', 'busy'], withdrawn: ['withdrawn', ''], excluded: ['excluded', 'bad'] };

// ------------------------------------------------------------------ talking to the server
async function ask(path, body) { // the reply, or an Error with words for the annotator
  let response;
  try {
    response = await fetch('rank/' + path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body), cache: 'no-store', signal: gone.signal });
  } catch { throw new Error('The server does not answer. Your answers are safe; try again in a moment.'); }
  let reply = {};
  try { reply = await response.json(); } catch { /* an error page is no JSON */ }
  if (response.ok && reply.state) return reply;
  if (response.status === 401) { location.href = 'login'; throw new Error('You are signed out.'); }
  throw new Error(reply.error || `The server had an error (${response.status}).`);
}
function trouble(error) {
  find('.trouble').hidden = !error;
  find('.trouble').textContent = error ? error.message : '';
}
async function load(more = false) {
  const turn = asked.turn += 1, own = find('.own');
  own.dataset.state = 'busy';
  try {
    const reply = await ask('work', { search: asked.search, campaign: asked.campaign, before: more ? asked.next : null, offset });
    if (turn !== asked.turn) return; // a newer search is on its way
    trouble(null);
    if (!more) { figures(reply); chart(reply.days); places(reply); }
    entries(reply, more);
    asked.pages = more ? asked.pages + 1 : 1;
  } catch (error) { if (turn === asked.turn && !gone.signal.aborted) trouble(error); }
  if (turn === asked.turn) own.dataset.state = 'ready';
}

// ------------------------------------------------------------------ drawing
function duration(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  if (seconds < 600) return `${Math.floor(Math.round(seconds) / 60)} min ${Math.round(seconds) % 60} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
function figures(reply) {
  at('today').textContent = number.format(reply.today);
  at('total').textContent = number.format(reply.total);
  at('per_hour').textContent = reply.per_hour === null ? '–' : number.format(Math.round(reply.per_hour));
  at('median').textContent = duration(reply.median_seconds);
  at('left').textContent = number.format(reply.left);
  find('.when').textContent = reply.total ? `${duration(reply.active_seconds)} of work so far` : 'Nothing answered yet';
}
function chart(days) {
  const width = 620, height = 150, low = 22, high = height - 16, most = Math.max(4, ...days.map((day) => day.count));
  const step = width / days.length, label = (day) => new Date(day + 'T12:00').toLocaleDateString('en', { day: 'numeric', month: 'short' });
  const total = days.reduce((sum, day) => sum + day.count, 0);
  const svg = shape('svg', { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', role: 'img' });
  svg.setAttribute('aria-label', `${number.format(total)} answers in the last ${days.length} days, at most ${most} in one day`);
  days.forEach((day, index) => {
    const tall = day.count ? Math.max(3, (high - low) * day.count / most) : 2, last = index === days.length - 1;
    const bar = shape('rect', { x: index * step + 2, width: step - 4, y: high - tall, height: tall, rx: 2, class: day.count ? (last ? 'bar today' : 'bar') : 'rest' });
    bar.append(shape('title', {}, `${label(day.day)}: ${number.format(day.count)}`));
    svg.append(bar);
  });
  svg.append(shape('line', { x1: 0, x2: width, y1: high + .5, y2: high + .5 }));
  const words = make('div', { class: 'ends' }, make('span', { text: label(days[0].day) }), make('span', { text: total ? `most in a day: ${number.format(Math.max(...days.map((day) => day.count)))}` : 'no answers in these days' }), make('span', { text: 'today' }));
  find('.chart').replaceChildren(svg, words);
}
function places(reply) {
  const rows = reply.campaigns.map((one) => make('li', {}, make('b', { text: one.name, dir: 'auto' }), make('span', { class: 'many', text: one.left ? `${number.format(one.left)} left` : 'all done' })));
  rows.push(...reply.blocked.map((one) => make('li', {}, make('b', { text: one.name, dir: 'auto' }), make('span', { class: 'why', text: one.message }))));
  find('.left').replaceChildren(...(rows.length ? rows : [make('li', { class: 'soft', text: 'No campaign is open for you right now.' })]));
  const held = reply.in_hand, hand = find('.hand');
  hand.hidden = !held.length;
  hand.dataset.assignments = JSON.stringify(held.map((one) => one.assignment));
  if (held.length) {
    const until = new Date(Math.min(...held.map((one) => Date.parse(one.expires)))).toLocaleTimeString('en', { hour: '2-digit', minute: '2-digit', hour12: false });
    find('.hand p').textContent = `${held.length === 1 ? 'One task is' : held.length + ' tasks are'} kept for you until ${until}. Pausing for longer?`;
  }
  choices(reply);
}
function choices(reply) { // every campaign ever seen here, so that a filter can be taken back
  const select = find('.find select'), known = new Map([...select.options].map((option) => [option.value, option.textContent]));
  for (const one of [...reply.campaigns, ...reply.entries.map((entry) => ({ id: entry.campaign_id, name: entry.campaign }))]) {
    if (!known.has(String(one.id))) { known.set(String(one.id), one.name); select.append(make('option', { value: one.id, text: one.name })); }
  }
}
function entries(reply, more) {
  const list = find('.entries'), lines = reply.entries.map(entry), none = find('.none');
  if (more) list.append(...lines); else list.replaceChildren(...lines);
  asked.next = reply.next;
  find('.more').hidden = !reply.next;
  none.hidden = Boolean(list.children.length);
  none.textContent = asked.search || asked.campaign ? 'Nothing of yours matches.' : 'Your answers appear here as soon as you have given one.';
  if (more) lines[0]?.querySelector('a, button')?.focus();
  else if (asked.search || asked.campaign) say(`${lines.length}${reply.next ? ' or more' : ''} answers found`);
}
function entry(one) {
  const [words, tone] = STATUS[one.status] || [one.status, ''], skipped = one.said === 'skipped';
  const chip = make('span', { class: 'chip', 'data-tone': skipped ? '' : tone, text: skipped ? 'skipped' : words + (one.status === 'excluded' && one.reason ? ': ' + one.reason : '') });
  const head = make('div', { class: 'head' }, ...(skipped || one.status === 'withdrawn' ? [] : [make('span', { class: 'said', text: one.said })]), chip);
  const when = new Date(one.when), notes = [one.campaign, when.toLocaleString('en', { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', hour12: false }), duration(one.seconds)];
  if (one.flags.length) notes.push('flagged ' + one.flags.join(', '));
  if (one.edited) notes.push('best answer edited');
  const facts = make('div', { class: 'facts' }, ...notes.map((text) => make('span', { text, dir: 'auto' })));
  const line = make('li', { class: 'entry', 'data-submission': one.submission }, head, make('div', { class: 'prompt', text: one.prompt, dir: 'auto' }), facts);
  if (one.revisable) line.append(acts(one, line, skipped || one.status === 'withdrawn'));
  return line;
}
function acts(one, line, open) {
  const about = ' ' + (one.prompt || 'this task'), box = make('div', { class: 'acts' });
  box.append(make('a', { href: './?revise=' + encodeURIComponent(one.submission), 'aria-label': (open ? 'Answer' : 'Revise') + about, text: open ? 'Answer' : 'Revise' }));
  if (open) return box;
  const button = make('button', { type: 'button', class: 'take', 'aria-label': 'Withdraw my answer to' + about, text: 'Withdraw' });
  button.addEventListener('click', () => withdraw(one, line, button), listen);
  button.addEventListener('blur', () => settle(button), listen);
  box.append(button);
  return box;
}
function settle(button) { button.classList.remove('sure'); button.textContent = 'Withdraw'; }
async function withdraw(one, line, button) {
  if (!button.classList.contains('sure')) { button.classList.add('sure'); button.textContent = 'Really withdraw?'; say('Press again to withdraw this answer.'); return; }
  button.disabled = true;
  one.key ||= Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
  try {
    await ask('withdraw', { submission: one.submission, submission_id: one.key });
    say('Withdrawn.');
    await load();
  } catch (error) { button.disabled = false; settle(button); trouble(error); }
}

// ------------------------------------------------------------------ listening
let typing = 0;
find('.find').addEventListener('submit', (event) => { event.preventDefault(); clearTimeout(typing); load(); }, listen);
find('.find input').addEventListener('input', (event) => {
  asked.search = event.target.value;
  clearTimeout(typing);
  typing = setTimeout(load, 250);
}, listen);
find('.find select').addEventListener('change', (event) => { asked.campaign = event.target.value ? Number(event.target.value) : null; load(); }, listen);
find('.more').addEventListener('click', () => load(true), listen);
find('.give').addEventListener('click', async () => {
  try {
    await ask('release', { assignments: JSON.parse(find('.hand').dataset.assignments) });
    say('Handed back. You get tasks again when you go back to ranking.');
    await load();
  } catch (error) { trouble(error); }
}, listen);
document.addEventListener('visibilitychange', () => { if (!document.hidden && element.isConnected && asked.pages === 1) load(); }, listen);
new MutationObserver((_, self) => { if (!element.isConnected) { gone.abort(); self.disconnect(); } }).observe(document.body, { childList: true, subtree: true });
load();
