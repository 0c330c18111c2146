// The controls of the four forms: on the cards (places, thumbs, scales) and in the dock (lanes, the seven steps, the
// overview), and how they follow the state. After ranking_cards.js, in one function.
const THUMBS = [[1, 'up', 'Thumb up'], [-1, 'down', 'Thumb down']];

// ------------------------------------------------------------------ on the cards
function formControls(letter) {
  if (state.form === 'ranking') return [placesOf(letter)];
  if (state.form === 'pairwise') return [make('span', { class: 'verdict' })];
  return state.form === 'thumbs' ? [thumbsOf(letter)] : [];
}
function placesOf(letter) {
  const places = state.letters.map((_, index) => index + 1);
  return make('div', { class: 'choice', role: 'radiogroup', 'aria-label': 'Rank of completion ' + letter }, ...places.map((rank) =>
    button('rank', rank, { role: 'radio', 'data-r': rank, tabindex: '-1', 'aria-checked': 'false', 'aria-label': Words.ORDINALS[rank] })));
}
function thumbsOf(letter) {
  return make('div', { class: 'thumbs', role: 'radiogroup', 'aria-label': 'Thumb for completion ' + letter }, ...THUMBS.map(([thumb, name, label]) => {
    const made = make('button', { type: 'button', class: 'thumb', role: 'radio', 'data-thumb': thumb, tabindex: '-1', 'aria-checked': 'false', 'aria-label': label, title: label + (thumb > 0 ? ' (+)' : ' (−)') });
    made.append(icon(name));
    return made;
  }));
}
function ratingRows(letter) {
  if (!state.scales.length) return [];
  return [make('div', { class: 'scales' }, ...state.scales.map((scale, row) => {
    const values = Array.from({ length: scale.high - scale.low + 1 }, (_, index) => scale.low + index);
    const ends = [scale.low_label, scale.high_label], end = (value) => (value === scale.low && ends[0] ? ', ' + ends[0] : value === scale.high && ends[1] ? ', ' + ends[1] : '');
    return make('div', { class: 'scale', 'data-row': row },
      make('span', { class: 'scale-name', text: scale.name }),
      make('span', { class: 'scale-end', text: ends[0] || '' }),
      make('span', { class: 'values', role: 'radiogroup', 'aria-label': scale.name + ' of completion ' + letter }, ...values.map((value) =>
        button('value', value, { role: 'radio', 'data-value': value, 'aria-checked': 'false', tabindex: value === scale.low ? '0' : '-1', 'aria-label': value + end(value) }))),
      make('span', { class: 'scale-end high', text: ends[1] || '' }));
  }))];
}

// ------------------------------------------------------------------ in the dock
function drawDock() {
  const form = $('.form');
  $('.dock').dataset.k = Answer.count(state);
  $('.dock').dataset.form = form.dataset.form = state.form;
  form.replaceChildren(...{ ranking: drawLanes, pairwise: drawSteps, ratings: drawOverview, thumbs: drawOverview }[state.form]());
  const others = [['all_bad', state.form === 'pairwise' ? 'Both bad' : 'All bad', 'None is worth it (B)'], ['cannot_judge', "Can't judge", 'I do not know enough to judge (J)'],
    ...(task.revises ? [] : [['skip', 'Skip', 'Leave this task to others (S)']])];
  $('.act .row').replaceChildren(button('undo', 'Undo', { title: 'Undo (U)' }),
    ...others.map(([kind, words, title]) => button('other', words, { 'data-kind': kind, 'aria-pressed': 'false', title })));
}
function tileOf(completion) {
  const letter = completion.letter;
  return make('li', { class: 'tile', role: 'option', 'aria-selected': 'false', 'aria-label': 'Completion ' + letter, 'data-letter': letter },
    make('b', { text: letter }), make('span', { class: 'words', text: covered(letter) ? 'covered' : completion.snippet, dir: 'auto' }));
}
function drawLanes() {
  const places = Answer.count(state), lanes = make('div', { class: 'lanes' });
  for (let rank = 1; rank <= places; rank += 1) {
    lanes.append(make('section', { class: 'lane', 'data-r': rank, 'aria-label': Words.ORDINALS[rank] + ' place' }, make('h2', {}, make('b', { text: Words.ORDINALS[rank] }), make('i', { text: rank === 1 ? 'best' : rank === places ? 'worst' : '' })),
      make('ul', { class: 'slot', role: 'listbox', 'aria-label': Words.ORDINALS[rank] + ' place, ties allowed', 'data-r': rank })));
  }
  const tray = make('ul', { class: 'tray', role: 'listbox', 'aria-label': 'Not ranked yet' }, ...task.completions.map(tileOf));
  return [make('div', { class: 'traybox' }, make('h2', {}, make('b', { text: 'Unranked' })), tray), lanes];
}
function drawSteps() {
  const [first, second] = state.letters, steps = make('div', { class: 'steps', role: 'radiogroup', 'aria-label': 'Which is better, and by how much' });
  for (let step = 1; step <= Answer.STEPS; step += 1) {
    const side = step < Answer.MIDDLE ? 'first' : step > Answer.MIDDLE ? 'second' : 'equal', margin = Math.abs(step - Answer.MIDDLE);
    const label = margin ? (side === 'first' ? first : second) + ' is ' + Words.STEPS[step] : 'About equal';
    steps.append(make('button', { type: 'button', class: 'step', role: 'radio', 'data-step': step, 'data-side': side, 'data-margin': margin, 'aria-checked': 'false', tabindex: step === Answer.MIDDLE ? '0' : '-1', 'aria-label': label, title: label + ' (' + step + ')' },
      make('i', { 'aria-hidden': 'true', text: margin ? (side === 'first' ? '‹' : '›').repeat(margin) : '=' }), make('span', { text: Words.STEPS[step].replace(' better', '').replace('about ', '') }), make('kbd', { text: step, 'aria-hidden': 'true' })));
  }
  const end = (letter, side) => make('div', { class: 'end', 'data-side': side, 'aria-hidden': 'true' }, make('b', { text: letter }), make('span', { text: 'better' }));
  const good = make('button', { type: 'button', class: 'good', 'aria-pressed': 'false', title: 'Both are good, and about equal (G)' }, 'Both good', make('kbd', { text: 'G', 'aria-hidden': 'true' }));
  return [make('div', { class: 'scale-line' }, end(first, 'first'), steps, end(second, 'second')), make('div', { class: 'both' }, make('span', { class: 'verdict-line' }), good)];
}
function drawOverview() {
  return [make('ul', { class: 'overview', 'aria-label': 'Completions' }, ...task.completions.map(({ letter }) => make('li', {},
    make('button', { type: 'button', class: 'jump', 'data-letter': letter }, make('b', { text: letter }), make('span', { class: 'done' })))))];
}

// ------------------------------------------------------------------ following the state
const checked = (node, on) => { if (node.getAttribute('aria-checked') !== String(on)) node.setAttribute('aria-checked', String(on)); };
function paintForm(card, letter, here) { // gives the words of the card's name
  paintRatings(card, letter, here);
  if (state.form === 'ranking') return paintRank(card, letter);
  if (state.form === 'pairwise') return paintVerdict(card, letter);
  if (state.form === 'thumbs') return paintThumb(card, letter);
  const open = Answer.openRows(state, letter).length;
  return open ? ', ' + Sent.plural(open, 'rating') + ' open' : ', rated';
}
function paintRank(card, letter) {
  const rank = state.ranks[letter];
  if (rank) card.dataset.r = rank; else delete card.dataset.r;
  $$('.rank', card).forEach((one) => checked(one, +one.dataset.r === rank));
  return rank ? ', ranked ' + Words.ORDINALS[rank] + (Answer.tied(state, letter) ? ', tied' : '') : ', not ranked';
}
function paintVerdict(card, letter) {
  const first = letter === state.letters[0], own = state.kind === state.own, choice = own ? state.choice : null;
  const better = typeof choice === 'number' && (first ? choice < Answer.MIDDLE : choice > Answer.MIDDLE);
  const words = better ? Words.STEPS[choice] : choice === 'good' ? 'good' : choice === Answer.MIDDLE ? 'equal' : '';
  card.dataset.side = first ? 'first' : 'second';
  card.classList.toggle('better', better);
  $('.verdict', card).textContent = words;
  return words ? ', ' + words : '';
}
function paintThumb(card, letter) {
  const thumb = state.thumbs[letter];
  if (thumb) card.dataset.thumb = thumb; else delete card.dataset.thumb;
  $$('.thumb', card).forEach((one) => checked(one, +one.dataset.thumb === thumb));
  return thumb ? (thumb > 0 ? ', thumb up' : ', thumb down') : ', not judged';
}
function paintRatings(card, letter, here) {
  $$('.scale', card).forEach((line) => {
    const row = +line.dataset.row, value = state.ratings[letter][state.scales[row].name];
    line.classList.toggle('here', here && state.row === row);
    line.classList.toggle('rated', value !== undefined);
    $$('.value', line).forEach((one, index) => { checked(one, +one.dataset.value === value); one.tabIndex = (value === undefined ? index === 0 : +one.dataset.value === value) ? 0 : -1; });
  });
}
function paintDock() {
  ({ ranking: paintLanes, pairwise: paintSteps, ratings: paintOverview, thumbs: paintOverview })[state.form]();
  $$('.other').forEach((one) => { one.setAttribute('aria-pressed', String(one.dataset.kind === state.kind)); one.disabled = busy; });
}
function paintLanes() {
  for (const tile of $$('.tile:not(.ghost)')) {
    const rank = state.ranks[tile.dataset.letter], home = rank ? $('.slot[data-r="' + rank + '"]') : $('.tray');
    if (tile.parentNode !== home) home.append(tile);
    if (rank) tile.dataset.r = rank; else delete tile.dataset.r;
    tile.classList.toggle('current', tile.dataset.letter === Answer.current(state));
    tile.setAttribute('aria-selected', String(Boolean(rank)));
  }
  $$('.lane').forEach((lane) => lane.classList.toggle('tie', $$('.tile', lane).length > 1));
}
function paintSteps() {
  const own = state.kind === state.own, chosen = own ? state.choice : null;
  $$('.step').forEach((one) => { const on = +one.dataset.step === chosen; checked(one, on); one.tabIndex = on || (typeof chosen !== 'number' && +one.dataset.step === Answer.MIDDLE) ? 0 : -1; });
  $('.good').setAttribute('aria-pressed', String(chosen === 'good'));
  $('.verdict-line').textContent = own ? Words.choice(state) : '';
}
function rated(letter) { // "4 5 – –", or how many where there are many scales
  const values = state.scales.map((scale) => state.ratings[letter][scale.name] ?? '–');
  return values.length > 5 ? values.filter((value) => value !== '–').length + '/' + values.length : values.join(' ');
}
function paintOverview() {
  for (const jump of $$('.jump')) {
    const letter = jump.dataset.letter, open = Answer.openRows(state, letter).length, thumb = state.thumbs[letter], done = $('.done', jump);
    const complete = !open && (state.form !== 'thumbs' || thumb !== null), shown = [rated(letter), thumb, complete].join();
    jump.classList.toggle('current', letter === Answer.current(state)); jump.classList.toggle('complete', complete);
    jump.setAttribute('aria-label', 'Completion ' + letter + (complete ? ', done' : ', open') + (thumb ? (thumb > 0 ? ', thumb up' : ', thumb down') : ''));
    if (done.dataset.shown === shown) continue;
    done.dataset.shown = shown;
    if (thumb) jump.dataset.thumb = thumb; else delete jump.dataset.thumb;
    done.replaceChildren(state.form === 'thumbs' && thumb ? icon(thumb > 0 ? 'up' : 'down') : rated(letter) || '–');
  }
}
