// What can stand beside an answer in any form: flags on a completion, the reason, and the best answer edited into a
// demonstration. After ranking_forms.js, in one function.

// ------------------------------------------------------------------ flags: a small menu at the card's flag
function openFlags(letter) {
  const offered = task.flags || [], at = $('.flag-button', cardOf(letter));
  if (!offered.length || !at) return;
  const note = make('input', { type: 'text', class: 'flag-note', maxlength: '500', dir: 'auto', 'aria-label': 'What is wrong with completion ' + letter, placeholder: 'Say what is wrong' });
  note.value = state.notes[letter];
  const boxes = offered.map((flag, index) => {
    const box = make('input', { type: 'checkbox', value: flag, autofocus: index === 0 });
    box.checked = state.flags[letter].includes(flag);
    return make('label', { class: 'flag-line' }, box, make('span', { text: flag }), make('kbd', { text: index + 1, 'aria-hidden': 'true' }));
  });
  const follow = () => { note.hidden = !state.flags[letter].includes('other'); };
  const toggle = (flag) => {
    update(Answer.toggleFlag(state, letter, flag, offered));
    $$('.flag-line input').forEach((box) => { box.checked = state.flags[letter].includes(box.value); });
    follow();
    if (flag === 'other' && !note.hidden) note.focus();
    say('Completion ' + letter + (state.flags[letter].includes(flag) ? ' flagged ' : ' no longer flagged ') + flag);
  };
  const { box, close } = dialog('small flags', 'Flag completion ' + letter, [...boxes, note], { back: cardOf(letter) });
  box.addEventListener('change', (event) => event.target.type === 'checkbox' && toggle(event.target.value));
  note.addEventListener('input', () => update(Answer.setNote(state, letter, note.value)));
  box.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && event.target.tagName !== 'BUTTON') { event.preventDefault(); event.stopPropagation(); close(); }
    if (event.target === note || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key.toLowerCase() === 'f') { event.preventDefault(); close(); }
    if (/^[1-9]$/.test(event.key) && offered[+event.key - 1]) { event.preventDefault(); toggle(offered[+event.key - 1]); }
  });
  follow();
  placeBeside(box, at);
}
function placeBeside(box, at) { // under the flag, inside the window
  const from = at.getBoundingClientRect(), own = box.getBoundingClientRect();
  box.style.left = Math.max(8, Math.min(from.right - own.width, innerWidth - own.width - 8)) + 'px';
  box.style.top = Math.max(8, Math.min(from.bottom + 6, innerHeight - own.height - 8)) + 'px';
}

// ------------------------------------------------------------------ the reason: chips and words
const wantsWhy = () => (task.rationale || 'off') !== 'off' || (task.reasons || []).length > 0;
function drawWhy() {
  const section = $('.why'), writes = (task.rationale || 'off') !== 'off', required = task.rationale === 'required';
  section.hidden = !wantsWhy() && !task.edit;
  if (section.hidden) { section.replaceChildren(); return; }
  const chips = make('div', { class: 'reason-chips', role: 'group', 'aria-label': 'Reasons' }, ...(task.reasons || []).map((reason) => button('reason', reason, { 'aria-pressed': 'false', 'data-reason': reason })));
  const words = make('textarea', { class: 'rationale', rows: '2', dir: 'auto', maxlength: '10000', 'aria-label': required ? 'Reason, required' : 'Reason, optional', 'aria-describedby': 'board-rationale-count', placeholder: 'What decided it?' });
  words.value = state.rationale;
  words.addEventListener('input', () => update(Answer.setRationale(state, words.value)));
  const title = make('h2', {}, 'Why? ', make('small', { text: required ? 'required' : 'optional' }), ' ', make('kbd', { text: 'W', 'aria-hidden': 'true' }));
  const edit = make('button', { type: 'button', class: 'edit-best', title: 'Edit the best answer into a demonstration (E)' });
  edit.append(icon('pencil'), make('span', { text: 'Edit the best answer' }), make('kbd', { text: 'E', 'aria-hidden': 'true' }));
  section.replaceChildren(...(wantsWhy() ? [title] : []), ...((task.reasons || []).length ? [chips] : []),
    ...(writes ? [make('div', { class: 'writing' }, words, make('span', { class: 'count', id: 'board-rationale-count' }))] : []), ...(task.edit ? [edit] : []));
}
function paintWhy() {
  $$('.reason').forEach((one) => one.setAttribute('aria-pressed', String(state.reasons.includes(one.dataset.reason))));
  const count = $('.why .count');
  if (count) {
    const length = state.rationale.trim().length, short = Sent.rationaleShort(state, task), least = task.rationale_min || 0;
    count.textContent = short && least ? length + ' of ' + least + ' characters, ' + short + ' to go' : Sent.plural(length, 'character') + (least && length ? ' ✓' : '');
    count.classList.toggle('short', short > 0);
  }
  const edit = $('.edit-best span');
  if (edit) edit.textContent = state.edited && Sent.detail({ ...state, kind: state.own }, texts()).edited ? 'Edited ' + state.edited + ': go on' : 'Edit the best answer';
}
function goWhy() {
  const target = $('.rationale') || $('.reason');
  target?.focus(); bring($('.why'), 'center');
}

// ------------------------------------------------------------------ the editor: one completion, its words, what changes
const texts = () => Object.fromEntries(task.completions.map((completion) => [completion.letter, completion.text ?? '']));
function openEditor() {
  if (!task?.edit || busy) return;
  const original = texts(), edits = { ...(state.edited ? { [state.edited]: state.edit } : {}) };
  let letter = Answer.best(state), waiting = 0;
  const words = make('textarea', { class: 'edit-words', dir: 'auto', maxlength: '50000', autofocus: true, 'aria-label': 'The edited answer', spellcheck: 'true' });
  const changes = make('div', { class: 'differences text plain', dir: 'auto', role: 'region', 'aria-label': 'What changes', tabindex: '0' }), sum = make('p', { class: 'sum', 'aria-live': 'polite' });
  const compare = () => {
    const found = Differences.between(original[letter], words.value);
    changes.replaceChildren(...marked(found.parts));
    sum.textContent = found.removed || found.added ? sumOf(found) : 'Nothing is changed yet.';
  };
  const show = (chosen) => { letter = chosen; words.value = edits[letter] ?? original[letter]; words.setAttribute('aria-label', 'Completion ' + letter + ', edited'); compare(); };
  const picker = radios('letters', 'Which completion to edit', state.letters.map((one) => [one, one, 'Completion ' + one]), letter, (chosen) => { show(chosen); if (edits[chosen]) keepEdit(chosen, edits[chosen]); });
  const drop = button('quiet-button', 'Drop the edit'), done = button('main-button', 'Done', { title: 'Done: the edit is sent with the answer (Ctrl+Enter)' });
  const { close } = dialog('wide editor', 'Edit the best answer', [
    make('div', { class: 'line' }, make('span', { text: 'Completion' }), picker.group, make('span', { class: 'quiet', text: 'Make it the answer you would have wanted. It goes along with yours when you submit.' })),
    make('div', { class: 'two' }, make('div', { class: 'pane' }, make('h3', { text: 'Your text' }), words), make('div', { class: 'pane' }, make('h3', { text: 'What changes' }), changes)),
    make('div', { class: 'foot' }, sum, drop, done)], { closed: () => { clearTimeout(waiting); paint(); }, back: $('.card.current') });
  words.addEventListener('input', () => {
    edits[letter] = words.value;
    keepEdit(letter, words.value);
    clearTimeout(waiting); waiting = setTimeout(compare, 120);
  });
  words.addEventListener('keydown', (event) => { if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) { event.preventDefault(); event.stopPropagation(); close(); } });
  drop.addEventListener('click', () => { delete edits[letter]; update(Answer.setEdit(state, null, '')); close(); say('The edit is dropped'); });
  done.addEventListener('click', close);
  show(letter);
}
function keepEdit(letter, words) {
  const same = words === texts()[letter];
  update(Answer.setEdit(state, same ? null : letter, same ? '' : words));
}
