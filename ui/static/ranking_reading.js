// What helps to read: word differences between two completions, the guidelines at the side, the size of the text.
// After ranking_beside.js, in one function.
const READ = 'rankloop-read:', SIZE = 'rankloop-text-size', SIZES = ['0.9', '1', '1.15', '1.35'];

// ------------------------------------------------------------------ word differences
const marked = (parts) => parts.flatMap(({ kind, text }) => (kind === 'same' ? [text] : text.split(/([\n]+)/).filter(Boolean)
  .map((line) => (line.trim() ? make(kind === 'removed' ? 'del' : 'ins', { text: line }) : line)))); // an empty line needs no mark
const sumOf = (found) => Sent.plural(found.removed, 'word') + ' removed, ' + Sent.plural(found.added, 'word') + ' added, ' + found.same.toLocaleString('en') + ' the same' + (found.coarse ? ' (too different for single words: whole sentences are compared)' : '');
function openDifferences() {
  const letters = state.letters, here = Answer.current(state), other = letters[(state.cursor + 1) % letters.length];
  let [left, right] = letters.indexOf(here) < letters.indexOf(other) ? [here, other] : [other, here];
  const panes = { left: pane(), right: pane() }, sum = make('p', { class: 'sum', 'aria-live': 'polite' });
  const options = letters.map((letter) => [letter, letter, 'Completion ' + letter]);
  const pickLeft = radios('letters', 'Left completion', options, left, (letter) => show(letter, letter === right ? left : right));
  const pickRight = radios('letters', 'Right completion', options, right, (letter) => show(letter === left ? right : left, letter));
  const swap = iconButton('swap', 'Swap the sides', 'Swap (X)');
  function show(a, b) {
    [left, right] = [a, b];
    pickLeft.draw(left); pickRight.draw(right);
    const hidden = [left, right].filter(covered);
    if (hidden.length) {
      for (const side of Object.values(panes)) side.text.replaceChildren();
      sum.textContent = hidden.map((letter) => 'Completion ' + letter).join(' and ') + (hidden.length > 1 ? ' are' : ' is') + ' covered: open it on its card first.';
    } else {
      const found = Differences.between(wordsOf(left), wordsOf(right));
      panes.left.text.replaceChildren(...marked(found.parts.filter((part) => part.kind !== 'added')));
      panes.right.text.replaceChildren(...marked(found.parts.filter((part) => part.kind !== 'removed')));
      sum.textContent = found.removed || found.added ? sumOf(found).replace('removed', 'only in ' + left).replace('added', 'only in ' + right) : 'The two are the same, word for word.';
    }
    for (const [side, letter] of [[panes.left, left], [panes.right, right]]) { side.title.textContent = 'Completion ' + letter; side.text.setAttribute('aria-label', 'Completion ' + letter + ' with its differences marked'); }
  }
  const { box } = dialog('wide differ-box', 'Word differences', [
    make('div', { class: 'line' }, pickLeft.group, swap, pickRight.group, make('span', { class: 'quiet wide', text: 'A letter picks the right side, Shift and a letter the left, X swaps.' })),
    make('div', { class: 'two' }, panes.left.node, panes.right.node), make('div', { class: 'foot' }, sum)], { back: $('.card.current') });
  swap.addEventListener('click', () => show(right, left));
  box.addEventListener('keydown', (event) => {
    const letter = event.key.length === 1 ? event.key.toUpperCase() : '';
    if (event.ctrlKey || event.metaKey || event.altKey || !letter) return;
    if (letter === 'X') show(right, left);
    else if (letters.includes(letter)) event.shiftKey ? show(letter, letter === right ? left : right) : show(letter === left ? right : left, letter);
    else return;
    event.preventDefault();
  });
  show(left, right);
}
function pane() {
  const title = make('h3'), text = make('div', { class: 'differences text plain', dir: 'auto', role: 'region', tabindex: '0' });
  return { node: make('div', { class: 'pane' }, title, text), title, text };
}

// ------------------------------------------------------------------ guidelines, criterion and examples
const guided = () => Boolean(task?.guidelines || task?.examples);
const wideEnough = () => window.matchMedia('(min-width: 1100px)').matches;
function drawGuide() {
  const part = (title, markup) => (markup ? [make('h2', { class: 'part', text: title }), fill(make('div', { class: 'text', dir: 'auto' }), markup)] : []);
  const closing = button('close', '✕', { 'aria-label': 'Close the guidelines', title: 'Close (I)' });
  const version = task.guidelines_version ? make('span', { class: 'version', text: 'version ' + task.guidelines_version }) : '';
  $('.guide').replaceChildren(make('header', {}, make('h2', { text: 'Guidelines' }), version, closing),
    make('div', { class: 'guide-text', tabindex: '0', role: 'region', 'aria-label': 'Text of the guidelines' }, make('p', { class: 'rule' }, make('b', { text: 'Criterion: ' }), task.criterion || 'helpful'), ...part('How to judge', task.guidelines), ...part('Examples', task.examples)));
  $('.guide-toggle').hidden = !guided();
}
function showGuide(open, focus = true) {
  const guide = $('.guide'), was = !guide.hidden;
  guide.hidden = !open;
  element.classList.toggle('guided', open);
  $('.guide-toggle').setAttribute('aria-expanded', String(open));
  if (open && focus) $('.close', guide).focus({ preventScroll: true });
  if (was && !open) { markRead(); if (guide.contains(document.activeElement) || document.activeElement === document.body) focusHere(); }
  if (was !== open) offerMore();
}
const readKey = () => READ + String(task.guidelines_key).split('.')[0]; // the campaign, or its preview
const versionHere = () => String(task.guidelines_version ?? task.guidelines_key ?? '');
function markRead() { if (task && guided()) store.set(readKey(), versionHere()); }
// Guidelines never seen are opened once; changed ones too, and the change is announced.
function announceGuide(changed) {
  const known = store.get(readKey()), unseen = guided() && known !== versionHere();
  drawGuide();
  if (!guided()) { showGuide(false); return ''; }
  if (!unseen) { if ($('.guide').hidden === false && !wideEnough()) showGuide(false); return ''; }
  showGuide(true, !wideEnough());
  if (known === null && !changed) return 'The guidelines are open.';
  const words = 'The guidelines have changed' + (task.guidelines_version ? ' (now version ' + task.guidelines_version + ')' : '') + ' since you last worked here.';
  banner(words, [['Read them', () => showGuide(true)], ['Got it', () => { markRead(); showGuide(false); clearBanner(); }]], 'changed');
  return words + ' They are open.';
}

// ------------------------------------------------------------------ size of the text
let size = Math.max(0, SIZES.indexOf(store.get(SIZE) || '1'));
function setSize(step) {
  size = Math.min(SIZES.length - 1, Math.max(0, size + step));
  store.set(SIZE, SIZES[size]);
  element.style.setProperty('--zoom', SIZES[size]);
  $$('.size').forEach((one) => { one.disabled = size === (+one.dataset.step < 0 ? 0 : SIZES.length - 1); });
  if (step) { say('Text size ' + (size + 1) + ' of ' + SIZES.length); offerMore(); }
}
