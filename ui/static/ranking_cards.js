// Draws a task: the prompt as a question or a conversation, and a card for each completion with its controls.
// After ranking_base.js, in one function. State goes to the page, never back: paintCards() makes the cards follow it.
const ROLES = { system: 'System', user: 'User', assistant: 'Assistant', tool: 'Tool' };
const cardOf = (letter) => $('.card[data-letter="' + letter + '"]');
const completionOf = (letter) => task.completions.find((completion) => completion.letter === letter);
const wordsOf = (letter) => completionOf(letter).text ?? $('.body', cardOf(letter))?.innerText ?? '';
const covered = (letter) => Boolean(completionOf(letter)?.veil) && !uncovered.has(letter);
let uncovered = new Set(); // letters of veiled completions that were opened

function drawPrompt() {
  const talk = $('.talk'), single = task.prompt.length === 1 && task.prompt[0].role === 'user';
  talk.replaceChildren(...task.prompt.map((turn) => make('div', { class: 'turn', 'data-role': turn.role },
    ...(single ? [] : [make('span', { class: 'who', text: ROLES[turn.role] || turn.role })]), fill(make('div', { class: 'text', dir: 'auto' }), turn.html))));
  talk.classList.toggle('single', single);
  talk.dataset.label = single ? 'Prompt' : 'Conversation';
  $('.ask').textContent = talk.dataset.label;
  const [before, after] = Words.question(task.criterion || 'helpful');
  $('.criterion').replaceChildren(before, make('em', { text: task.criterion || 'helpful' }), after);
}

function drawCards() {
  const cards = $('.cards');
  cards.dataset.k = Answer.count(state);
  cards.dataset.form = state.form;
  cards.classList.toggle('rated', state.scales.length > 0);
  cards.replaceChildren(...task.completions.map(drawCard));
  offerMore();
}

function drawCard(completion) {
  const letter = completion.letter;
  const body = make('div', { class: 'body text', dir: 'auto', 'data-label': 'Text of completion ' + letter });
  if (covered(letter)) body.append(...drawVeil(completion)); else fill(body, completion.html);
  const head = make('header', {},
    ...(state.form === 'ranking' ? [make('span', { class: 'grip', 'aria-hidden': 'true', text: '⠿' })] : []),
    make('span', { class: 'letter', text: letter }), make('span', { class: 'note', text: completion.note }), make('span', { class: 'chips' }),
    ...formControls(letter), make('span', { class: 'card-tools' }, ...((task.flags || []).length ? [iconButton('flag', 'Flag completion ' + letter, 'Flag (F)', { 'aria-haspopup': 'dialog' })] : []),
      iconButton('fold', 'Fold completion ' + letter, 'Fold (C)', { 'aria-expanded': 'true' })));
  return make('section', { class: 'card', role: 'group', 'data-letter': letter, tabindex: '-1' }, head, body, ...ratingRows(letter));
}

function iconButton(name, label, title, attributes = {}) {
  const made = make('button', { type: 'button', class: 'icon-button ' + name + '-button', 'aria-label': label, title, ...attributes });
  made.append(icon(name));
  return made;
}

// A completion that may disturb is covered until somebody opens it. It can be answered covered.
function drawVeil(completion) {
  const open = button('uncover', 'Show it');
  open.setAttribute('aria-label', 'Show completion ' + completion.letter);
  return [make('div', { class: 'veil' }, icon('cover'), make('p', {}, make('b', { text: 'Covered: ' }), completion.veil), make('p', { class: 'quiet', text: 'You can answer without opening it. Enter here, or V, shows it.' }), open)];
}
function uncover(letter) {
  if (!covered(letter)) return;
  uncovered.add(letter);
  fill($('.body', cardOf(letter)), completionOf(letter).html);
  const snippet = $('.tile[data-letter="' + letter + '"] .words');
  if (snippet) snippet.textContent = completionOf(letter).snippet;
  cardOf(letter).classList.remove('veiled');
  offerMore(); paint(); focusHere();
  say('Completion ' + letter + ' is shown');
}

// A long text scrolls in its box, or is opened to its full height. All boxes are measured before any is changed, as
// each change would make the browser lay the page out again.
function offerMore() {
  const boxes = $$('.body:not(.open), .talk:not(.open)');
  const tall = boxes.map((box) => box.scrollHeight > box.clientHeight + 8 && box.clientHeight > 0);
  boxes.forEach((box, index) => {
    const more = box.nextElementSibling?.classList.contains('more') ? box.nextElementSibling : null;
    if (!tall[index]) { more?.remove(); box.removeAttribute('tabindex'); box.removeAttribute('role'); box.removeAttribute('aria-label'); return; }
    box.tabIndex = 0; box.setAttribute('role', 'region'); box.setAttribute('aria-label', box.dataset.label || 'Prompt');
    if (!more) box.after(button('more', 'Show all', { 'aria-expanded': 'false' }));
    if (box.classList.contains('talk') && !box.classList.contains('single')) box.scrollTop = box.scrollHeight;
  });
}
function toggleMore(more) {
  const box = more.previousElementSibling, open = box.classList.toggle('open');
  more.textContent = open ? 'Show less' : 'Show all'; more.setAttribute('aria-expanded', String(open));
}

// ------------------------------------------------------------------ folding
function fold(letters, folded) {
  for (const letter of letters) {
    const card = cardOf(letter), toggle = $('.fold-button', card);
    card.classList.toggle('folded', folded);
    toggle.setAttribute('aria-expanded', String(!folded)); toggle.title = folded ? 'Unfold (C)' : 'Fold (C)';
    toggle.setAttribute('aria-label', (folded ? 'Unfold' : 'Fold') + ' completion ' + letter);
  }
  const all = $$('.card').every((card) => card.classList.contains('folded')), every = $('.fold-all');
  every.setAttribute('aria-pressed', String(all)); $('span', every).textContent = all ? 'Unfold all' : 'Fold all';
  offerMore();
}
function foldOne(letter) {
  const folded = !cardOf(letter).classList.contains('folded');
  fold([letter], folded);
  say('Completion ' + letter + (folded ? ' folded' : ' unfolded'));
}
function foldAll() {
  const folded = $$('.card').some((card) => !card.classList.contains('folded'));
  fold(state.letters, folded);
  say(folded ? 'All folded' : 'All unfolded');
}

// ------------------------------------------------------------------ following the state
function paintCards() {
  $$('.card').forEach((card, index) => {
    const letter = card.dataset.letter, here = index === state.cursor;
    card.classList.toggle('current', here); card.tabIndex = here ? 0 : -1;
    card.classList.toggle('veiled', covered(letter));
    const words = paintForm(card, letter, here);
    const flags = state.flags[letter], chips = $('.chips', card);
    const shown = [...flags, ...(state.edited === letter && state.edit.trim() && state.edit !== wordsOf(letter) ? ['edited'] : [])];
    if (chips.dataset.shown !== shown.join()) {
      chips.dataset.shown = shown.join();
      chips.replaceChildren(...shown.map((flag) => make('span', { class: 'chip' + (flag === 'edited' ? ' edited' : ''), text: flag })));
    }
    $('.flag-button', card)?.classList.toggle('on', flags.length > 0);
    card.setAttribute('aria-label', 'Completion ' + letter + words + (covered(letter) ? ', covered' : '') + (flags.length ? ', flagged ' + flags.join(', ') : ''));
  });
}
