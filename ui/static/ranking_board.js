// The part of the board that draws, listens and sends. Runs as js_on_load of ui.ranking_board, after
// ranking.js and before ranking_drag.js, in one function; in scope: element. One `state` (see ranking.js) is the truth: paint() makes the page follow it, and
// nothing is ever read back from the page. Answers go by fetch to ui.rank_page's routes; a draft lies in
// localStorage from the first key until the server has said "saved".
const KEPT = 'rankloop-draft:', READ = 'rankloop-guidelines:', KEPT_FOR = 14 * 24 * 3600e3;
const PATIENCE = 20000, POLL = { starting: 2000, empty: 3000, trouble: 3000 };
const ROLES = { system: 'System', user: 'User', assistant: 'Assistant', tool: 'Tool' };
const $ = (selector, root = element) => root.querySelector(selector);
const $$ = (selector, root = element) => [...root.querySelectorAll(selector)];
const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === 'text') node.textContent = value; else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
};
const gone = new AbortController(), listen = { signal: gone.signal };
let task = null, state = null, submissionId = null, busy = false, kept = '', shownAt = 0, spent = 0, since = 0, poll = 0;

// ------------------------------------------------------------------ drafts
const store = {
  get(key) { try { return localStorage.getItem(key); } catch { return null; } },
  set(key, text) { try { localStorage.setItem(key, text); return true; } catch { return false; } },
  drop(key) { try { localStorage.removeItem(key); } catch { /* nothing was kept then */ } },
  tidy() {
    try {
      for (const key of Object.keys(localStorage)) {
        if (key.startsWith(KEPT) && Ranking.outdated(localStorage.getItem(key), Date.now(), KEPT_FOR)) localStorage.removeItem(key);
      }
    } catch { /* a browser without storage has nothing to tidy */ }
  },
};
function keep() {
  const done = store.set(KEPT + task.assignment, Ranking.encodeDraft(state, submissionId, Date.now()));
  kept = done ? 'Draft kept' : 'Not kept: this browser stores nothing';
}
function update(next) {
  if (!task || busy || next === state) return;
  const answered = next.ranks !== state.ranks || next.kind !== state.kind;
  state = next;
  if (answered) { keep(); trouble(''); }
  paint();
}

// ------------------------------------------------------------------ drawing
const say = (text) => { const live = $('.live'); live.textContent = ''; live.textContent = text; };
function fill(node, markup) { // `markup` comes from ui.markup, which lets only an allow-list through
  node.innerHTML = markup;
  if (!window.katex) return;
  const until = performance.now() + 1500;
  for (const span of $$('.tex', node)) {
    if (performance.now() > until) break;
    const source = span.textContent, displayMode = span.classList.contains('tex-display');
    try { katex.render(source, span, { displayMode, throwOnError: false, trust: false, strict: 'ignore', maxExpand: 200, maxSize: 20 }); }
    catch { span.textContent = source; }
  }
}
function view(v) {
  busy = false;
  clearTimeout(poll);
  if (v.state === 'task') { show(v); return; }
  task = state = null;
  $('.work').hidden = true; $('.waiting').hidden = false;
  waiting(v);
  if (v.state in POLL) poll = setTimeout(ask, POLL[v.state]);
}
function waiting(v) {
  const panel = $('.waiting'), starting = v.state === 'starting' ? v.starting : null, failed = starting && starting.step === 'failed';
  panel.dataset.state = failed ? 'failed' : v.state;
  const words = {
    starting: [failed ? 'The first start failed' : 'Getting ready', starting ? starting.message : ''],
    empty: ['Nothing to rank right now', 'Every open task has its rankings. New ones appear here by themselves.'],
    signed_out: ['You are signed out', 'What you had ranked is kept in this browser. Sign in to go on.'],
    trouble: ['The server does not answer', (v.why || '') + ' Trying again by itself…'],
  }[v.state];
  $('h2', panel).textContent = words[0];
  $('.why', panel).textContent = words[1] + (v.notice ? ' ' + v.notice : '');
  const bar = $('.bar', panel), known = starting && !failed && typeof starting.progress === 'number';
  bar.hidden = !known;
  if (known) { const percent = Math.round(100 * starting.progress); bar.setAttribute('aria-valuenow', percent); $('i', bar).style.width = percent + '%'; }
  $('.timing', panel).textContent = known ? timing(starting) : v.total ? Ranking.savedText(v.today, v.total).replace('Saved ✓ ', 'Your rankings ') : '';
  const go = $('.go', panel);
  go.hidden = !(v.state === 'signed_out' || failed || (v.state === 'empty' && v.may_lead));
  go.textContent = v.state === 'signed_out' ? 'Sign in' : failed ? 'See the runs' : 'Bring prompts or start a run';
  go.setAttribute('href', v.state === 'signed_out' ? 'login' : failed ? 'runs' : 'campaigns');
  if (v.saved) say(Ranking.savedText(v.today, v.total));
}
function timing(starting) {
  const elapsed = Ranking.clock(starting.elapsed), remaining = starting.remaining === null ? '' : Ranking.clock(starting.remaining);
  return [elapsed && elapsed + ' elapsed', remaining && 'about ' + remaining + ' left in this step'].filter(Boolean).join(' · ');
}
function show(v) {
  task = v.task;
  const letters = task.completions.map((completion) => completion.letter), draft = Ranking.decodeDraft(store.get(KEPT + task.assignment), letters);
  state = draft.state; submissionId = draft.id || Ranking.newId(window.crypto);
  shownAt = since = performance.now(); spent = 0;
  kept = v.saved ? Ranking.savedText(v.today, v.total) : draft.id ? 'Draft kept' : '';
  $('.waiting').hidden = true; $('.work').hidden = false;
  drawPrompt(v); drawCards(); drawDock();
  trouble(v.notice || '', 'notice');
  $$('.body, .talk').forEach(offerMore);
  paint();
  window.scrollTo({ top: 0 });
  $$('.card')[state.cursor].focus({ preventScroll: true });
  say((v.saved ? kept + '. ' : '') + 'New task with ' + letters.length + ' completions.');
}
function drawPrompt(v) {
  const talk = $('.talk'), single = task.prompt.length === 1 && task.prompt[0].role === 'user';
  talk.replaceChildren(...task.prompt.map((turn) => {
    const text = make('div', { class: 'text', dir: 'auto' });
    fill(text, turn.html);
    return make('div', { class: 'turn', 'data-role': turn.role }, ...(single ? [] : [make('span', { class: 'who', text: ROLES[turn.role] || turn.role })]), text);
  }));
  talk.classList.toggle('single', single);
  $('.ask').textContent = single ? 'Prompt' : 'Conversation';
  const [before, after] = Ranking.question(task.criterion);
  $('.criterion').replaceChildren(before, make('em', { text: task.criterion }), after);
  $('.meta').textContent = [task.campaign, task.remaining + ' open', v.today + ' today'].join('  ·  ');
  const guide = $('.guide');
  fill(guide, task.guidelines);
  $('.guide-toggle').hidden = !task.guidelines;
  guided(Boolean(task.guidelines) && !store.get(READ + task.guidelines_key));
}
function guided(open) {
  $('.guide').hidden = !open;
  $('.guide-toggle').setAttribute('aria-expanded', String(open));
}
function drawCards() {
  const cards = $('.cards'), places = Ranking.count(state);
  cards.dataset.k = places;
  cards.replaceChildren(...task.completions.map((completion) => {
    const letter = completion.letter, body = make('div', { class: 'body text', dir: 'auto', 'data-label': 'Text of completion ' + letter });
    fill(body, completion.html);
    const choice = make('div', { class: 'choice', role: 'radiogroup', 'aria-label': 'Rank of completion ' + letter });
    for (let rank = 1; rank <= places; rank += 1) {
      choice.append(make('button', { type: 'button', role: 'radio', class: 'rank', 'data-r': rank, tabindex: '-1', 'aria-checked': 'false', 'aria-label': Ranking.ORDINALS[rank], text: rank }));
    }
    const head = make('header', {}, make('span', { class: 'grip', 'aria-hidden': 'true', text: '⠿' }), make('span', { class: 'letter', text: letter }), make('span', { class: 'note', text: completion.note }), choice);
    return make('section', { class: 'card', role: 'group', 'data-letter': letter, tabindex: '-1' }, head, body);
  }));
}
function drawDock() {
  const places = Ranking.count(state), lanes = $('.lanes');
  $('.dock').dataset.k = places;
  $('.hints .last').textContent = places;
  lanes.replaceChildren();
  for (let rank = 1; rank <= places; rank += 1) {
    lanes.append(make('section', { class: 'lane', 'data-r': rank }, make('h2', {}, make('b', { text: Ranking.ORDINALS[rank] }), make('i', { text: rank === 1 ? 'best' : rank === places ? 'worst' : '' })),
      make('ul', { class: 'slot', role: 'listbox', 'aria-label': Ranking.ORDINALS[rank] + ' place, ties allowed', 'data-r': rank })));
  }
  $('.tray').replaceChildren(...task.completions.map((completion) =>
    make('li', { class: 'tile', role: 'option', 'aria-selected': 'false', 'aria-label': 'Completion ' + completion.letter, 'data-letter': completion.letter }, make('b', { text: completion.letter }), make('span', { text: completion.snippet, dir: 'auto' }))));
}
function offerMore(box) { // a long text scrolls in its box, or is opened to its full height
  box.classList.remove('open');
  box.nextElementSibling?.classList.contains('more') && box.nextElementSibling.remove();
  if (box.scrollHeight <= box.clientHeight + 8) { box.removeAttribute('tabindex'); return; }
  box.tabIndex = 0; box.setAttribute('role', 'region'); box.setAttribute('aria-label', box.dataset.label || 'Prompt');
  box.after(make('button', { type: 'button', class: 'more', 'aria-expanded': 'false', text: 'Show all' }));
  if (box.classList.contains('talk') && !box.classList.contains('single')) box.scrollTop = box.scrollHeight;
}
function paint() {
  if (!task) return;
  const ranking = state.kind === 'ranking';
  element.querySelector('.work').classList.toggle('set-aside', !ranking);
  $$('.card').forEach((card, index) => {
    const letter = card.dataset.letter, rank = state.ranks[letter], here = index === state.cursor;
    if (rank) card.dataset.r = rank; else delete card.dataset.r;
    card.classList.toggle('current', here); card.tabIndex = here ? 0 : -1;
    const place = rank ? ', ranked ' + Ranking.ORDINALS[rank] + (Ranking.tied(state, letter) ? ', tied' : '') : ', not ranked';
    card.setAttribute('aria-label', 'Completion ' + letter + place);
    $$('.rank', card).forEach((button) => button.setAttribute('aria-checked', String(+button.dataset.r === rank)));
  });
  for (const tile of $$('.tile:not(.ghost)')) {
    const rank = state.ranks[tile.dataset.letter], home = rank ? $('.slot[data-r="' + rank + '"]') : $('.tray');
    if (tile.parentNode !== home) home.append(tile);
    if (rank) tile.dataset.r = rank; else delete tile.dataset.r;
    tile.classList.toggle('current', tile.dataset.letter === Ranking.current(state));
    tile.setAttribute('aria-selected', String(Boolean(rank)));
  }
  $$('.lane').forEach((lane) => lane.classList.toggle('tie', $$('.tile', lane).length > 1));
  $$('[data-kind]').forEach((button) => { button.setAttribute('aria-pressed', String(button.dataset.kind === state.kind)); button.disabled = busy; });
  const submitting = $('.submit');
  submitting.disabled = busy || !Ranking.ready(state);
  const [verb, rest] = busy ? ['Saving…', ''] : Ranking.submitLabel(state);
  submitting.replaceChildren(verb, make('span', { class: 'wide', text: rest }));
  $('.undo').disabled = busy || !state.past.length;
  $('.progress').textContent = busy ? '' : Ranking.progressText(state);
  $('.kept').textContent = busy ? 'Saving…' : kept;
}
function trouble(text, kind = 'wrong', link = null) {
  const line = $('.trouble');
  line.hidden = !text; line.dataset.kind = kind;
  line.replaceChildren(text, ...(link ? [' ', make('a', { href: link, target: '_blank', text: 'Sign in' })] : []));
}

// ------------------------------------------------------------------ talking to the server
async function send(path, body) { // the reply, or an Error with .status and words for the annotator
  const patience = new AbortController(), timer = setTimeout(() => patience.abort(), PATIENCE);
  try {
    const response = await fetch(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body), signal: patience.signal, cache: 'no-store' });
    const text = await response.text();
    let reply = {};
    try { reply = JSON.parse(text); } catch { /* an error page is no JSON */ }
    if (response.ok && reply.state) return reply;
    const words = { 401: 'you are signed out', 403: 'this account may not rank', 422: 'the server refused it (' + (reply.error || '') + ')' };
    throw Object.assign(new Error(words[response.status] || 'the server had an error (' + response.status + ')'), { status: response.status });
  } catch (error) {
    if (error.status) throw error;
    throw Object.assign(new Error(patience.signal.aborted ? 'the server takes too long' : 'the server does not answer'), { status: 0 });
  } finally { clearTimeout(timer); }
}
async function ask() {
  clearTimeout(poll);
  if (!element.isConnected || task) return;
  if (document.hidden && element.dataset.ready) return; // asked again when somebody looks
  try { view(await send('rank/next', {})); }
  catch (error) { view(error.status === 401 ? { state: 'signed_out' } : { state: 'trouble', why: error.status ? error.message + '.' : '' }); }
  element.dataset.ready = '1';
}
async function submit() {
  if (!task || busy) return;
  if (!Ranking.ready(state)) {
    say(Ranking.progressText(state));
    const hint = $('.progress');
    hint.classList.remove('shake'); void hint.offsetWidth; hint.classList.add('shake');
    return;
  }
  const mine = task.assignment;
  keep(); busy = true; trouble(''); paint();
  const seconds = Math.round(spent + (performance.now() - since)) / 1000;
  try {
    const reply = await send('rank/answer', { submission_id: submissionId, assignment: mine, seconds, ...Ranking.answer(state) });
    store.drop(KEPT + mine);
    if (task.guidelines) store.set(READ + task.guidelines_key, '1');
    task = null;
    view(reply);
  } catch (error) {
    busy = false; kept = 'Draft kept'; paint();
    const text = 'Not saved: ' + error.message + '. Your ranking is kept here, press Enter to try again.';
    trouble(text, 'wrong', error.status === 401 ? 'login' : null); say(text);
  }
}
function choose(kind) { // skipping an untouched task needs no second step; everything else is sent by Submit
  if (!task || busy || (kind === 'skip' && performance.now() - shownAt < 400)) return;
  const at_once = kind === 'skip' && !Ranking.touched(state) && state.kind === 'ranking';
  update(Ranking.choose(state, kind));
  if (at_once) submit(); else say(Ranking.submitLabel(state).join(''));
}
function rank(letter, place) {
  update(Ranking.setRank(state, letter, place));
  say('Completion ' + letter + (place ? ' ranked ' + Ranking.ORDINALS[place] : ' not ranked'));
}
function go(index) {
  update(Ranking.moveTo(state, index));
  const card = $$('.card')[state.cursor];
  card.focus({ preventScroll: true });
  card.scrollIntoView({ block: 'nearest', behavior: 'smooth' });
}

// ------------------------------------------------------------------ clicks and keys
element.addEventListener('click', (event) => {
  if (!task || busy) return;
  const at = (selector) => event.target.closest(selector), card = at('.card'), index = card ? $$('.card').indexOf(card) : -1;
  if (at('.rank')) {
    const place = +at('.rank').dataset.r, letter = card.dataset.letter;
    state = Ranking.moveTo(state, index);
    rank(letter, state.ranks[letter] === place ? null : place);
  } else if (at('.more')) {
    const box = at('.more').previousElementSibling, open = box.classList.toggle('open');
    at('.more').textContent = open ? 'Show less' : 'Show all'; at('.more').setAttribute('aria-expanded', String(open));
  } else if (at('.submit')) submit();
  else if (at('.undo')) update(Ranking.undo(state));
  else if (at('[data-kind]')) choose(at('[data-kind]').dataset.kind);
  else if (at('.guide-toggle')) { guided($('.guide').hidden); store.set(READ + task.guidelines_key, '1'); }
  else if (at('.tile')) go(state.letters.indexOf(at('.tile').dataset.letter));
  else if (card && !at('a') && !String(getSelection())) update(Ranking.moveTo(state, index));
  const pointed = event.detail > 0 && task && (at('button') || (at('.card') && !at('a') && !String(getSelection())));
  if (pointed) $$('.card')[state.cursor].focus({ preventScroll: true }); // the next Enter submits, not the button again
}, listen);
const acts = {
  rank(meant) { rank(Ranking.current(state), meant.rank); const next = Ranking.advance(state); if (next !== state) go(next.cursor); },
  clear() { rank(Ranking.current(state), null); },
  move(meant) { go(state.cursor + meant.step); },
  go(meant) { go(meant.index); },
  shift(meant) { const letter = Ranking.current(state); rank(letter, Ranking.shift(state, letter, meant.step).ranks[letter]); },
  choose(meant) { choose(meant.kind); },
  undo() { update(Ranking.undo(state)); say('Undone'); },
  submit() { submit(); },
};
document.addEventListener('keydown', (event) => {
  if (!element.isConnected) { gone.abort(); return; }
  if (event.key === 'Escape') { dropped(); return; }
  if (!task || busy || event.defaultPrevented || event.isComposing) return;
  const target = event.target;
  if (target.closest('input, textarea, select, [contenteditable=true]') || document.querySelector('[role=dialog]')) return;
  const enter = event.key === 'Enter', ours = enter && target.closest('.rank, .submit, [aria-pressed=true]');
  if ((enter || event.key === ' ') && target.closest('button, a') && !ours) return; // let buttons be buttons
  const scrolling = target.closest('.body[tabindex], .talk[tabindex]') && /^Arrow(Up|Down)$/.test(event.key);
  if (scrolling) return;
  const meant = Ranking.meaning(event.key, { ctrl: event.ctrlKey, meta: event.metaKey, alt: event.altKey, shift: event.shiftKey }, Ranking.count(state));
  if (!meant) return;
  event.preventDefault();
  if (!event.repeat || meant.act === 'move' || meant.act === 'shift') acts[meant.act](meant);
}, listen);

// ------------------------------------------------------------------ being looked at, and the first task
document.addEventListener('visibilitychange', () => {
  if (document.hidden) { spent += performance.now() - since; since = performance.now(); return; }
  since = performance.now();
  if (!task) ask();
}, listen);
window.addEventListener('resize', () => { if (task) $$('.body:not(.open), .talk:not(.open)').forEach(offerMore); }, listen);
store.tidy();
ask();
