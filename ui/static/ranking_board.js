// The board itself: what is on screen, what the annotator has said so far, and what goes out. Runs after the parts
// that think (answer.js …), that send (sending.js) and that draw (ranking_cards.js …), in one function; in scope:
// element. One `state` (see answer.js) is the truth: paint() makes the page follow it, and nothing is ever read back
// from the page. A draft lies in localStorage from the first key until the answer is stored or waits in the outbox.
const KEPT = 'rankloop-draft:', CAMPAIGN = 'rankloop-campaign', KEPT_FOR = 14 * 24 * 3600e3;
const POLL = { starting: 2000, empty: 3000, trouble: 3000, blocked: 5000 }, HASTE = 400;
let task = null, state = null, fresh = null, submissionId = null, busy = false, paused = false, poll = 0;
let kept = ['', ''], saving = { state: 'saved', queued: 0, text: '' }, counts = {}, lastSaved = null, answeredLast = null, shownAt = 0, enteredAt = 0, waitingFor = '';
let campaign = Number(store.get(CAMPAIGN)) || null;
const sending = makeSending({
  signal: gone.signal,
  onState(told) { saving = told; if (task) paintSave(); if (told.state === 'refused') showRefused(); },
  onView(v) {
    if (v.settled) store.drop(KEPT + v.settled); // answered after all, here or in another window
    if (paused || task?.revises) return;
    if (held) held = { ...v, feedback: held.feedback }; else view(v);
  },
  onNotice(text) { if (task) trouble(text, 'notice'); say(text); },
});

// ------------------------------------------------------------------ the answer in the making
const person = () => /(?:^|;\s*)rankloop_person=([\w-]+)/.exec(document.cookie)?.[1] || '';
const draftKey = () => KEPT + (task.revises ? 'revises.' + task.revises : task.assignment);
function keep() {
  const done = store.set(draftKey(), Sent.encodeDraft(state, task, submissionId, Date.now(), person()));
  kept = done ? ['draft', 'Draft kept'] : ['refused', 'Draft not kept: this browser stores nothing'];
}
function update(next) {
  if (!task || busy || next === state) return;
  const said = Answer.touched(next, state);
  state = next;
  if (said) { keep(); trouble(''); }
  paint();
}
function draftOf() { // the draft of this assignment, else one of the same texts that was handed back
  const own = Sent.decodeDraft(store.get(draftKey()), task);
  if (own.id || task.revises) return own;
  for (const key of store.keys(KEPT)) {
    const adopted = Sent.adoptDraft(store.get(key), task, person());
    if (adopted) { store.drop(key); return { state: adopted, id: Sent.newId(window.crypto) }; }
  }
  return own;
}

// ------------------------------------------------------------------ what is on screen
function view(v) {
  busy = false;
  clearTimeout(poll);
  if (paused) return;
  for (const name of ['today', 'total', 'left', 'campaigns']) if (v[name] !== undefined) counts[name] = v[name];
  prepare((v.ahead || []).flatMap((next) => [...next.prompt, ...next.completions]).map((one) => one.html));
  if (v.feedback) { task = state = null; clock.stop(); showFeedback(v); return; }
  if (v.state === 'task') { show(v); return; }
  clock.stop(); opened?.close();
  task = state = null;
  $('.work').hidden = $('.guide').hidden = true; $('.waiting').hidden = false;
  element.classList.remove('guided');
  const looks = JSON.stringify([v.state, v.starting, v.blocked, v.why, v.notice, v.queued_answers, v.total]);
  if (looks !== waitingFor) { waitingFor = looks; waiting(v); say((v.saved ? Words.saved(v.today, v.total) + '. ' : '') + $('.waiting h2').textContent); }
  if (v.state in POLL) poll = setTimeout(ask, POLL[v.state]);
  timed();
}
function show(v) {
  waitingFor = '';
  if (task && task.assignment === v.task.assignment && task.revises === v.task.revises) { // the same: what was said stays
    paintCounts();
    if (v.notice) trouble(v.notice, 'notice');
    return;
  }
  opened?.close();
  task = v.task; uncovered = new Set();
  fresh = task.answer ? Sent.restore(task, Sent.parts(task, task.answer)) : Answer.create(task);
  const draft = draftOf();
  state = draft.id ? draft.state : fresh;
  submissionId = draft.id || Sent.newId(window.crypto);
  if (draft.id) keep();
  kept = v.saved ? ['saved', Words.saved(v.today, v.total)] : draft.id ? ['draft', 'Draft kept'] : ['', ''];
  $('.waiting').hidden = $('.feedback').hidden = true; $('.work').hidden = false;
  drawPrompt(); drawDock(); drawWhy(); drawHints(); clearBanner();
  trouble([v.warning, v.notice].filter(Boolean).join(' '), 'notice');
  const words = announce(v);
  drawCards();
  paintCounts(); paint();
  window.scrollTo({ top: 0 });
  if (!$('.guide').contains(document.activeElement)) focusHere(false);
  shownAt = performance.now(); clock.reset();
  $('.clock').textContent = Words.clock(0);
  say(words);
  timed();
}
function announce(v) { // banners and what is read out
  const guide = announceGuide(v.guidelines_changed);
  $('.tools .training').hidden = !task.training;
  if (task.revises) banner('You are changing an answer that you gave before.', [['Cancel', cancelRevision], ['Withdraw it', withdraw]], 'revise');
  else if (task.training && $('.banner').hidden) banner('This is a training task: afterwards you see the expected answer.', [], 'training');
  const form = { ranking: 'Rank', pairwise: 'Compare', ratings: 'Rate', thumbs: 'Judge' }[state.form];
  return [kept[0] === 'saved' ? kept[1] + '.' : '', task.revises ? 'Revise your answer.' : task.training ? 'Training task.' : 'New task.', form + ' ' + Answer.count(state) + ' completions.', guide].filter(Boolean).join(' ');
}
function timed() { // from Enter to the painted page, in ms, for whoever measures
  if (!enteredAt) return;
  const from = enteredAt;
  enteredAt = 0;
  requestAnimationFrame(() => setTimeout(() => { element.dataset.painted = String(Math.round(10 * (performance.now() - from)) / 10); }));
}
function paint() {
  if (!task) return;
  $('.work').classList.toggle('set-aside', state.kind !== state.own);
  paintCards(); paintDock(); paintWhy();
  const submitting = $('.submit'), open = busy ? [] : Sent.missing(state, task);
  submitting.setAttribute('aria-disabled', String(busy || open.length > 0));
  const [verb, rest] = busy ? ['Saving…', ''] : Words.submitLabel(state, Boolean(task.revises));
  if (submitting.textContent !== verb + rest) submitting.replaceChildren(verb, make('span', { class: 'wide', text: rest }));
  $('.undo').disabled = busy || !(state.past.length || canGoBack());
  $('.progress').textContent = busy ? '' : open.length ? open[0].what : 'Ready to submit';
  paintSave();
}
function paintSave() {
  const node = $('.kept'), waits = saving.queued ? ' · ' + Sent.plural(saving.queued, 'answer waits', 'answers wait') + ' here' : '';
  const stopped = /signed out/i.test(saving.text) ? 'Signed out' : /may not/.test(saving.text) ? 'Not allowed' : 'Offline';
  const [name, words] = busy ? ['saving', 'Saving…'] : saving.state === 'offline' ? ['offline', stopped + waits + (kept[0] === 'draft' ? ' · draft kept' : '')] : saving.queued ? ['saving', saving.text] : kept;
  node.dataset.state = name; node.textContent = words; node.title = saving.state === 'offline' ? saving.text : words;
}
function paintCounts() {
  const several = (counts.campaigns || []).length > 1, chooser = $('.campaigns'), left = counts.left ?? task.remaining;
  $('.meta').textContent = [counts.today + ' today', counts.total + ' in all', left === undefined ? '' : left + ' left'].filter(Boolean).join(' · ');
  $('.campaign').textContent = task.campaign;
  $('.campaign').hidden = several && campaign !== null;
  chooser.hidden = !several;
  if (!several) return;
  chooser.replaceChildren(make('option', { value: '', text: 'All campaigns' }), ...counts.campaigns.map((one) => make('option', { value: one.id, text: one.name + ' (' + one.left + ' left)' })));
  chooser.value = campaign === null ? '' : String(campaign);
}
function trouble(text, kind = 'wrong', link = null) {
  const line = $('.trouble');
  if (line.hidden && !text) return;
  line.hidden = !text; line.dataset.kind = kind;
  line.replaceChildren(text, ...(link ? [' ', make('a', { href: link, target: '_blank', text: 'Sign in' })] : []));
}
function banner(words, actions, kind) {
  const line = $('.banner');
  line.hidden = false; line.dataset.kind = kind;
  line.replaceChildren(make('p', { text: words }), ...actions.map(([label, run]) => { const made = button('banner-button', label); made.addEventListener('click', run); return made; }));
}
function clearBanner() { $('.banner').hidden = true; $('.banner').dataset.kind = ''; }
function showRefused() { // answers that the server would not take; they stay until somebody has read why
  const refused = sending.refused();
  if (!task || !refused.length) return;
  banner('Not stored: ' + refused.map((one) => one.reason).join(' '), [['OK', () => { refused.forEach((one) => sending.dismiss(one.id)); clearBanner(); focusHere(); }]], 'wrong');
}
function focusHere(scroll = true) { // the current card, or its current scale for whoever walks by Tab
  const card = $$('.card')[state?.cursor ?? 0], row = state?.row >= 0 ? $('.scale[data-row="' + state.row + '"]', card) : null;
  const inRows = row && document.activeElement?.closest('.values');
  (inRows ? $('[tabindex="0"]', row) : card)?.focus({ preventScroll: true });
  if (scroll) bring(row && card.getBoundingClientRect().height > innerHeight * 0.6 ? row : card);
}

// ------------------------------------------------------------------ asking and sending
async function ask() {
  clearTimeout(poll);
  if (!element.isConnected || task || paused || held) return;
  if (document.hidden && element.dataset.ready) return; // asked again when somebody looks
  try { view(await sending.next(campaign)); } catch (error) { failed(error); }
  element.dataset.ready = '1';
}
const failed = (error) => view(error.status === 401 ? { state: 'signed_out' } : { state: 'trouble', why: error.status ? error.message + '.' : '' });
async function submit() {
  if (!task || busy) return;
  const open = Sent.missing(state, task);
  if (open.length) { lead(open[0]); return; }
  const mine = task, key = draftKey(), given = Sent.answer(state, texts());
  keep(); busy = true; trouble(''); paint();
  enteredAt = performance.now();
  try {
    const reply = await sending.submit({ submission_id: submissionId, assignment: mine.assignment, seconds: clock.seconds(), ...given, ...(mine.revises ? { revises: mine.revises } : {}) });
    store.drop(key);
    markRead();
    [answeredLast, lastSaved] = [given, reply.saved && given.kind !== 'skip' ? reply.saved : null];
    forgetRevision();
    task = null;
    view(mine.revises && reply.saved && !reply.notice ? { ...reply, notice: 'Your change is saved.' } : reply);
  } catch (error) {
    busy = false; kept = ['refused', 'Not saved']; paint();
    const text = 'Not saved: ' + error.message + '. Your answer is kept here, press Enter to try again.';
    trouble(text, 'wrong', error.status === 401 ? 'login' : null); say(text);
  }
}
function lead(open) { // to the first thing that is missing
  say(open.what);
  const hint = $('.progress');
  hint.classList.remove('shake'); void hint.offsetWidth; hint.classList.add('shake');
  if (open.index !== null) update(Answer.toRow(Answer.moveTo(state, open.index), open.row));
  if (open.at === 'why') goWhy();
  else if (open.at === 'flag') openFlags(Answer.current(state));
  else if (open.index === null) $('.step[tabindex="0"]')?.focus({ preventScroll: true });
  else focusHere();
}
function choose(kind) { // skipping an untouched task needs no second step; everything else is sent by Submit
  if (!task || busy || (kind === 'skip' && (task.revises || performance.now() - shownAt < HASTE))) return;
  const atOnce = kind === 'skip' && !Answer.touched(state, fresh);
  update(Answer.choose(state, kind));
  if (atOnce) submit(); else say(Words.submitLabel(state).join(''));
}

// ------------------------------------------------------------------ campaigns, pauses, revisions
function pickCampaign(value) {
  campaign = Number(value) || null;
  if (campaign) store.set(CAMPAIGN, String(campaign)); else store.drop(CAMPAIGN);
  task = null; waitingFor = '';
  ask();
}
async function pause() {
  if (!task || busy || task.revises) return;
  const keeping = Answer.touched(state, fresh) ? [task.assignment] : [];
  if (keeping.length) keep();
  view({ state: 'paused', ...counts });
  paused = true;
  $('.ways button')?.focus();
  try { await sending.pause(keeping); } catch { /* the leases then end by themselves */ }
}
async function resume() {
  if (!paused) return;
  paused = false; waitingFor = '';
  try { view(await sending.resume()); } catch (error) { failed(error); }
}
const canGoBack = () => Boolean(lastSaved) && Boolean(task) && !task.revises && !Answer.touched(state, fresh);
function offerBack() {
  if ($('.banner').dataset.kind === 'back') { revise(lastSaved); return; }
  banner('Nothing to undo here. Go back to your last answer?', [['Change it (U)', () => revise(lastSaved)], ['Stay', () => { clearBanner(); focusHere(); }]], 'back');
  say('Press U again to change your last answer.');
}
async function revise(submission) {
  try {
    const reply = await sending.ask('rank/revise', { submission });
    task = null;
    view(reply);
  } catch (error) {
    if (task) { trouble(error.message, 'notice'); say(error.message); return; }
    view(error.status === 401 ? { state: 'signed_out' } : { state: 'refused', why: error.message });
  }
}
function forgetRevision() {
  if (new URLSearchParams(location.search).has('revise')) history.replaceState(null, '', location.pathname);
}
function leaveRevision() { forgetRevision(); task = null; waitingFor = ''; ask(); }
function cancelRevision() { store.drop(draftKey()); leaveRevision(); }
async function withdraw() {
  if (busy || !task?.revises) return;
  busy = true; paint();
  try {
    await sending.ask('rank/withdraw', { submission: task.revises, submission_id: submissionId });
    store.drop(draftKey());
    busy = false; lastSaved = null; say('The answer is withdrawn.');
    leaveRevision();
  } catch (error) { busy = false; paint(); trouble('Not withdrawn: ' + error.message + '.'); }
}
