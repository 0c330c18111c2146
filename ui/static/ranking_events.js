// Clicks and keys of the board, and its start. The last but one file of the function, before ranking_drag.js.

// ------------------------------------------------------------------ answering by key or click
function rank(letter, place) {
  update(Answer.setRank(state, letter, place));
  say('Completion ' + letter + (place ? ' ranked ' + Words.ORDINALS[place] : ' not ranked'));
}
function go(index) { update(Answer.toRow(Answer.moveTo(state, index), state.row)); focusHere(); }
function onward() { // to what is open next
  const next = Answer.advance(state);
  if (next === state) return;
  const entered = state.row < 0 && next.row >= 0;
  update(next); focusHere();
  if (entered) say('Now rate ' + Answer.current(state) + ': ' + state.scales[state.row].name);
}
function rate(letter, row, value) {
  update(Answer.setRating(state, letter, row, value));
  say(letter + ', ' + state.scales[row].name + ': ' + (value ?? 'not rated'));
}
function thumb(letter, value) {
  update(Answer.setThumb(state, letter, value));
  say('Completion ' + letter + (value ? (value > 0 ? ', thumb up' : ', thumb down') : ' not judged'));
}
function compare(choice) {
  update(Answer.setChoice(state, choice));
  say(Words.choice(state) || 'Nothing chosen');
  if (document.activeElement?.closest('.steps')) $('.step[tabindex="0"]').focus({ preventScroll: true });
}
function undo() {
  if (state.past.length) { update(Answer.undo(state)); say('Undone'); } else if (canGoBack()) offerBack(); else say('Nothing to undo');
}

const acts = {
  rank(meant) { rank(Answer.current(state), meant.rank); onward(); },
  choice(meant) { compare(meant.choice); if (state.scales.length) onward(); },
  nudge(meant) { update(Answer.nudge(state, meant.step)); compare(state.choice); },
  rate(meant) { rate(Answer.current(state), state.row, meant.value); onward(); },
  thumb(meant) { thumb(Answer.current(state), meant.thumb); onward(); },
  clear() {
    const letter = Answer.current(state);
    if (state.row >= 0) rate(letter, state.row, null);
    else ({ ranking: () => rank(letter, null), pairwise: () => compare(null), thumbs: () => thumb(letter, null) })[state.form]();
  },
  up() { vertical(-1); },
  down() { vertical(1); },
  rows() { update(Answer.toRow(state, state.row < 0 ? 0 : -1)); say(state.row < 0 ? 'Back to the answer' : 'Rate ' + state.scales[state.row].name); focusHere(); },
  move(meant) { go(state.cursor + meant.step); },
  go(meant) { go(meant.index); },
  choose(meant) { choose(meant.kind); },
  undo() { undo(); },
  submit() { submit(); },
  flag() { openFlags(Answer.current(state)); },
  why() { goWhy(); },
  edit() { openEditor(); },
  fold() { foldOne(Answer.current(state)); },
  fold_all() { foldAll(); },
  uncover() { uncover(Answer.current(state)); },
  differences() { openDifferences(); },
  guidelines() { if (guided()) showGuide($('.guide').hidden); },
  help() { openHelp(); },
  pause() { pause(); },
  size(meant) { setSize(meant.step); },
};
function vertical(step) {
  if (state.row >= 0) { update(Answer.moveRow(state, step)); focusHere(); say(Answer.current(state) + (state.row < 0 ? '' : ', ' + state.scales[state.row].name)); return; }
  const letter = Answer.current(state);
  if (state.form === 'ranking') rank(letter, Answer.shift(state, letter, step).ranks[letter]);
  if (state.form === 'thumbs') { thumb(letter, -step); onward(); }
}

// ------------------------------------------------------------------ clicks
const CLICKS = [ // what a click inside that selector does; true: what was clicked keeps the focus
  ['.more', (at) => toggleMore(at)],
  ['.uncover', (at) => uncover(at.closest('.card').dataset.letter)],
  ['.fold-button', (at) => foldOne(at.closest('.card').dataset.letter)],
  ['.flag-button', (at) => { openFlags(at.closest('.card').dataset.letter); return true; }],
  ['.rank', (at, letter) => rank(letter, state.ranks[letter] === +at.dataset.r ? null : +at.dataset.r)],
  ['.thumb', (at, letter) => thumb(letter, state.thumbs[letter] === +at.dataset.thumb ? null : +at.dataset.thumb)],
  ['.value', (at, letter) => { const row = +at.closest('.scale').dataset.row; update(Answer.toRow(state, row)); rate(letter, row, state.ratings[letter][state.scales[row].name] === +at.dataset.value ? null : +at.dataset.value); }],
  ['.step', (at) => compare(state.choice === +at.dataset.step && state.kind === state.own ? null : +at.dataset.step)],
  ['.good', () => compare(state.choice === 'good' && state.kind === state.own ? null : 'good')],
  ['.submit', () => { submit(); return true; }],
  ['.undo', () => undo()],
  ['.other', (at) => choose(at.dataset.kind)],
  ['.reason', (at) => update(Answer.toggleReason(state, at.dataset.reason, task.reasons || []))],
  ['.edit-best', () => { openEditor(); return true; }],
  ['.guide-toggle', () => { showGuide($('.guide').hidden); return true; }],
  ['.guide .close', () => { showGuide(false); return true; }],
  ['.differ', () => { openDifferences(); return true; }],
  ['.fold-all', () => foldAll()],
  ['.size', (at) => setSize(+at.dataset.step)],
  ['.help', () => { openHelp(); return true; }],
  ['.pause', () => { pause(); return true; }],
  ['.jump', (at) => { go(state.letters.indexOf(at.dataset.letter)); bring(cardOf(at.dataset.letter), 'start'); return true; }],
  ['.tile', (at) => { go(state.letters.indexOf(at.dataset.letter)); return true; }],
];
element.addEventListener('click', (event) => {
  if (!task || busy || opened?.box.contains(event.target)) return;
  const card = event.target.closest('.card'), reading = event.target.closest('a') || String(getSelection());
  if (card && !reading) state = Answer.moveTo(state, state.letters.indexOf(card.dataset.letter));
  const [found, act] = CLICKS.map(([selector, run]) => [event.target.closest(selector), run]).find(([at]) => at) || [];
  const stays = found ? act(found, card?.dataset.letter) : !card || reading;
  if (card && task) paint();
  if (!stays && event.detail > 0 && task && !opened) $$('.card')[state.cursor].focus({ preventScroll: true }); // the next Enter submits, not the button again
}, listen);
element.addEventListener('focusin', (event) => { // whoever walks by Tab takes the marks along
  const card = event.target.closest?.('.card'), row = event.target.closest?.('.scale');
  if (!card || !task || busy) return;
  const there = Answer.moveTo(state, state.letters.indexOf(card.dataset.letter));
  const next = row ? Answer.toRow(there, +row.dataset.row) : there;
  if (next.cursor !== state.cursor || next.row !== state.row) update(next);
}, listen);
element.addEventListener('change', (event) => { if (event.target.closest('.campaigns')) pickCampaign(event.target.value); }, listen);

// ------------------------------------------------------------------ keys
const WRITING = 'input, textarea, select, [contenteditable=true]';
document.addEventListener('keydown', (event) => {
  if (!element.isConnected) { gone.abort(); return; }
  if (event.defaultPrevented || event.isComposing || opened) return;
  const target = event.target;
  if (paused && event.key.toLowerCase() === 'p' && !event.ctrlKey && !event.metaKey && !event.altKey) { event.preventDefault(); resume(); return; }
  if (held && event.key === 'Enter' && !target.closest('button, a, summary')) { event.preventDefault(); leaveFeedback(); return; }
  if (!task) return;
  if (event.key === 'Escape') { escape(target); return; }
  if (target.closest(WRITING)) { if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) { event.preventDefault(); submit(); } return; }
  if (busy || document.querySelector('[role=dialog]')) return;
  const enter = event.key === 'Enter', ours = enter && target.closest('[role=radio], .submit, [aria-pressed=true]');
  if ((enter || event.key === ' ') && target.closest('button, a, summary') && !ours) return; // let buttons be buttons
  if (target.closest('.body[tabindex], .talk[tabindex], .guide-text') && /^Arrow(Up|Down)$/.test(event.key)) return; // it scrolls
  if (inRow(event)) return;
  const meant = Keys.meaning(event.key, { ctrl: event.ctrlKey, meta: event.metaKey, alt: event.altKey, shift: event.shiftKey }, situation());
  if (!meant || (/^(up|down)$/.test(meant.act) && state.form === 'pairwise' && state.row < 0)) return;
  event.preventDefault();
  if (!event.repeat || ['move', 'up', 'down', 'nudge'].includes(meant.act)) acts[meant.act](meant);
}, listen);
function escape(target) {
  if (drag) { dropped(); return; }
  if (target.closest(WRITING)) { focusHere(); return; }
  if (!$('.guide').hidden) showGuide(false);
}
function inRow(event) { // on a scale that has the focus, left and right are its values, as on any row of radio buttons
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key], values = event.target.closest('.values');
  if (!step || !values) return false;
  const scale = state.scales[state.row], letter = Answer.current(state), value = state.ratings[letter][scale.name];
  event.preventDefault();
  rate(letter, state.row, Math.min(scale.high, Math.max(scale.low, value === undefined ? scale.low : value + step)));
  focusHere(false);
  return true;
}

// ------------------------------------------------------------------ being looked at, and the start
document.addEventListener('visibilitychange', () => {
  if (document.hidden) { clock.stop(); return; }
  if (task) clock.start(); else ask();
}, listen);
window.addEventListener('resize', () => { if (task) offerMore(); }, listen);
const ticking = setInterval(() => { if (task && !document.hidden) $('.clock').textContent = Words.clock(clock.seconds()); }, 1000);
gone.signal.addEventListener('abort', () => clearInterval(ticking));
function begin() {
  for (const key of store.keys(KEPT)) if (Sent.outdated(store.get(key), Date.now(), KEPT_FOR)) store.drop(key);
  for (const one of $$('.tool[data-icon]')) one.prepend(icon(one.dataset.icon));
  $('.waiting .picture').replaceChildren(make('div', { class: 'mark' }, make('i'), make('i'), make('i')));
  setSize(0);
  const revising = new URLSearchParams(location.search).get('revise');
  if (revising) revise(revising).then(() => { element.dataset.ready = '1'; }); else ask();
}
