// What the page shows when there is no task to answer: starting, empty, blocked, consent, paused, offline, trouble,
// signed out; and what a training task says afterwards. After ranking_help.js, in one function.
const PICTURE = { starting: 'ranks', empty: 'check', blocked: 'people', consent: 'paper', paused: 'pause', quota: 'check', offline: 'offline', trouble: 'warn', signed_out: 'key', failed: 'warn' };

// `v` is a View without a task; extra states of our own: paused, offline, trouble, signed_out.
function waiting(v) {
  const panel = $('.waiting'), starting = v.state === 'starting' ? v.starting : null, failed = Boolean(starting) && starting.step === 'failed';
  const blocked = v.state === 'blocked' ? v.blocked || [] : [], consent = blocked.find((one) => one.code === 'consent');
  const look = failed ? 'failed' : consent ? 'consent' : blocked.length && blocked.every((one) => one.code === blocked[0].code) && blocked[0].code in PICTURE ? blocked[0].code : v.state;
  const [title, why] = wordsFor(v, { starting, failed, blocked, consent });
  panel.dataset.state = failed ? 'failed' : v.state;
  panel.dataset.look = look;
  $('.picture', panel).replaceChildren(look === 'starting' || look === 'empty' ? make('div', { class: 'mark' }, make('i'), make('i'), make('i')) : icon(PICTURE[look] || 'warn'));
  $('h2', panel).textContent = title;
  $('.why-not', panel).textContent = [why, v.notice].filter(Boolean).join(' ');
  const bar = $('.bar', panel), known = Boolean(starting) && !failed && typeof starting.progress === 'number';
  bar.hidden = !known;
  if (known) { const percent = Math.round(100 * starting.progress); bar.setAttribute('aria-valuenow', percent); $('i', bar).style.width = percent + '%'; }
  $('.timing', panel).textContent = known ? timing(starting) : v.total ? 'Your answers: ' + v.today + ' today, ' + v.total + ' in all' : '';
  $('.reasons', panel).replaceChildren(...blocked.map((one) => blockedLine(one, blocked.length > 1)));
  $('.ways', panel).replaceChildren(...waysOn(v, failed));
}
function wordsFor(v, { starting, failed, blocked, consent }) {
  const kinds = new Set(blocked.map((one) => one.code));
  const blockedTitle = consent ? 'Before you start' : kinds.size > 1 ? 'No task for you right now' : { members: 'For members only', paused: 'You are paused here', quota: 'Your share is done' }[blocked[0]?.code] || 'No task for you right now';
  return {
    starting: [failed ? 'The first start failed' : 'Getting ready', starting ? starting.message : ''],
    empty: ['Nothing to rank right now', 'Every open task has its answers. New ones appear here by themselves.'],
    blocked: [blockedTitle, ''],
    paused: ['Paused', 'Your tasks are handed back and the clock stands still. What you had begun is kept in this browser.'],
    offline: ['You are offline', offlineWords(v)],
    signed_out: ['You are signed out', 'What you had answered is kept in this browser. Sign in to go on.'],
    trouble: ['The server does not answer', (v.why || '') + ' Trying again by itself…'],
    refused: ['That is not possible', v.why || ''],
  }[v.state] || ['Getting the next task…', ''];
}
function offlineWords(v) {
  const queued = v.queued_answers ?? saving.queued ?? 0;
  return (queued ? Sent.plural(queued, 'answer waits', 'answers wait') + ' in this browser and will be sent in order. ' : '') + 'The next task comes as soon as the connection is back.';
}
function timing(starting) {
  const elapsed = Words.clock(starting.elapsed), remaining = starting.remaining === null ? '' : Words.clock(starting.remaining);
  return [elapsed && elapsed + ' elapsed', remaining && 'about ' + remaining + ' left in this step'].filter(Boolean).join(' · ');
}
function blockedLine(one, several) {
  const lines = [make('p', {}, ...(several && one.name ? [make('b', { text: one.name + ': ' })] : []), one.message || '')];
  if (one.code !== 'consent') return make('div', { class: 'blocked', 'data-code': one.code }, ...lines);
  const agree = button('main-button agree', 'I agree');
  agree.addEventListener('click', () => consentTo(one, agree));
  return make('div', { class: 'blocked', 'data-code': 'consent' }, ...lines, fill(make('div', { class: 'consent text', dir: 'auto', tabindex: '0', role: 'region', 'aria-label': 'Consent text' }), one.consent), make('p', { class: 'quiet', text: 'Agreeing is stored with your name and the version of this text.' }), agree);
}
async function consentTo(one, agree) {
  agree.disabled = true;
  try { view(await sending.ask('rank/consent', { campaign: one.campaign, version: one.version })); }
  catch (error) { agree.disabled = false; $('.why-not').textContent = 'Not stored: ' + error.message + '. Try again.'; }
}
function waysOn(v, failed) {
  const way = (words, href) => make('a', { class: 'go', href, text: words });
  const act = (words, run) => { const made = button('main-button', words); made.addEventListener('click', run); return made; };
  if (v.state === 'paused') return [act('Resume (P)', resume)];
  if (v.state === 'signed_out') return [way('Sign in', 'login')];
  if (v.state === 'refused') return [act('Back to the tasks', () => { leaveRevision(); ask(); })];
  if (failed) return [way('See the runs', 'runs')];
  const ways = v.state === 'empty' && v.may_lead ? [way('Bring prompts or start a run', 'campaigns')] : [];
  const others = (v.campaigns || []).filter((one) => String(one.id) !== String(campaign) && one.left);
  return v.state !== 'starting' && campaign !== null && others.length ? [...ways, act('Take tasks of any campaign', () => pickCampaign(''))] : ways;
}

// ------------------------------------------------------------------ after a training task
let held = null; // the view that waits behind the feedback
function showFeedback(v) {
  held = v;
  const { score, expected, explanation, task: done } = v.feedback, given = v.feedback.answer || answeredLast;
  const column = (title, content) => make('section', {}, make('h2', { class: 'part', text: title }), ...content);
  const percent = typeof score === 'number' ? Math.round(100 * score) : null;
  const next = button('main-button next', 'Next', { title: 'Next (Enter)' });
  next.addEventListener('click', leaveFeedback);
  const panel = $('.feedback');
  panel.setAttribute('role', 'region'); panel.setAttribute('aria-label', 'Feedback on the training task');
  panel.replaceChildren(make('p', { class: 'kind' }, make('span', { class: 'training', text: 'Training' }), percent === null ? '' : make('b', { text: percent === 100 ? 'You agree fully' : 'You agree to ' + percent + ' %' })),
    make('div', { class: 'both-answers' }, column('Your answer', tierRows(given, done)), column('Expected', tierRows(expected, done))),
    ...(explanation ? [column('Why', [fill(make('div', { class: 'text', dir: 'auto' }), explanation)])] : []),
    ...(done ? [column('The task', [...done.prompt.map((turn) => fill(make('div', { class: 'text asked', dir: 'auto' }), turn.html)),
      ...done.completions.map((one) => make('details', {}, make('summary', {}, make('b', { text: one.letter }), ' ', make('span', { text: one.snippet, dir: 'auto' })), fill(make('div', { class: 'text', dir: 'auto' }), one.html)))])] : []),
    make('div', { class: 'foot' }, make('span', { class: 'quiet', text: 'Training answers teach only; they train no model.' }), next));
  $('.work').hidden = $('.waiting').hidden = true; panel.hidden = false;
  window.scrollTo({ top: 0 });
  next.focus({ preventScroll: true });
  say('Training: ' + (percent === null ? 'see the expected answer.' : 'you agree to ' + percent + ' percent.') + ' Enter goes on.');
}
function tierRows(given, done) {
  const fixed = given && ['all_bad', 'cannot_judge', 'skip'].includes(given.kind) ? Words.said(given.kind, []) : '';
  if (!given || fixed || !(given.tiers || []).length) return [make('p', { class: 'fixed', text: fixed || (given ? Words.said(given.kind, [], given.detail) : 'Not known') || '–' })];
  const snippet = (letter) => done?.completions.find((one) => one.letter === letter)?.snippet || '';
  return [make('ol', { class: 'tiers' }, ...given.tiers.map((tier, index) => make('li', { 'data-r': index + 1 }, make('span', { class: 'place-name', text: Words.ORDINALS[index + 1] }),
    make('div', {}, ...tier.map((letter) => make('span', { class: 'tile' }, make('b', { text: letter }), make('span', { class: 'words', text: snippet(letter), dir: 'auto' })))))))];
}
function leaveFeedback() {
  const { feedback: _seen, ...next } = held || {};
  held = null;
  $('.feedback').hidden = true;
  if (next.state) view(next); else ask();
}
