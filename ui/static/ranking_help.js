// The keys: the line under the board and the help overlay, both made for the form at hand. After ranking_reading.js.
const situation = () => ({
  form: state.form, completions: Answer.count(state), scale: state.row >= 0 ? state.scales[state.row] : null, scales: state.scales.length ? state.scales : null,
  flags: (task.flags || []).length > 0, why: wantsWhy(), edit: Boolean(task.edit), guided: guided(),
});
function openHelp() {
  const blocks = Keys.groups(situation()).map(([title, lines]) => make('section', {}, make('h3', { text: title }), make('dl', {}, ...lines.map(([keys, meaning]) =>
    make('div', {}, make('dt', {}, ...keys.flatMap((key) => [Array.isArray(key) ? make('kbd', { text: key[0] }) : key, ' '])), make('dd', { text: meaning }))))));
  dialog('wide help-box', 'Keys', [make('div', { class: 'help-text', tabindex: '0', role: 'region', 'aria-label': 'All keys' }, ...blocks)], { back: $('.card.current') });
}
function drawHints() {
  const [answer, ...rest] = Keys.groups(situation()), instead = rest.find(([title]) => title === 'Instead, and then')[1];
  const short = { 'rank the current completion; the same number is a tie': 'rank', 'move its rank': 'move rank', 'take its rank away': 'clear', 'previous, next completion': 'card', 'all bad: none is worth it': 'all bad', 'skip: leave the task to others': 'skip',
    'undo; on an untouched task, back to the last answer': 'undo', 'A is significantly better, better, slightly better': 'A better', 'B is slightly better, better, significantly better': 'B better', 'a step towards A, towards B': 'nudge',
    'thumb up, thumb down': 'up, down', 'previous, next scale': 'scale', 'take the rating away': 'clear' };
  $('.hints').replaceChildren(...[...answer[1], ...instead].map(([keys, meaning]) => keyLine(keys, short[meaning] || meaning)), keyLine([['F']], 'flag'), keyLine([['D']], 'differences'), keyLine([['?']], 'all keys'));
}
