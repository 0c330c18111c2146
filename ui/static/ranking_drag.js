// Dragging a tile or a card's handle into a place: one path of pointer events for mouse, pen and touch. A drop only
// means "this letter into that place", so the order inside a place and the list itself are never touched.
// The last file of the board's function, so it also starts the board; only the ranking form has anything to drag.
let drag = null;
const lane = (event) => { const found = document.elementFromPoint(event.clientX, event.clientY)?.closest('.lane, .traybox'); return found && element.contains(found) ? found : null; };
function dropped() {
  if (!drag) return;
  drag.ghost?.remove(); drag.source.classList.remove('lifted');
  $$('.over').forEach((node) => node.classList.remove('over'));
  drag = null;
}
element.addEventListener('pointerdown', (event) => {
  if (drag || event.button || !task || busy || opened || state.form !== 'ranking') return;
  const handle = event.target.closest('.tile, .grip') || (event.pointerType === 'mouse' && !event.target.closest('button, .chips') && event.target.closest('.card header'));
  const source = handle && handle.closest('[data-letter]');
  if (source) drag = { letter: source.dataset.letter, source, x: event.clientX, y: event.clientY, pointer: event.pointerId, ghost: null };
}, listen);
document.addEventListener('pointermove', (event) => {
  if (!drag || event.pointerId !== drag.pointer) return;
  if (!drag.ghost) {
    if (Math.hypot(event.clientX - drag.x, event.clientY - drag.y) < 5) return;
    drag.ghost = $('.tile[data-letter="' + drag.letter + '"]').cloneNode(true);
    drag.ghost.classList.add('ghost'); $('.work').append(drag.ghost); drag.source.classList.add('lifted');
    getSelection()?.removeAllRanges();
  }
  event.preventDefault();
  drag.ghost.style.transform = 'translate(' + (event.clientX + 8) + 'px,' + (event.clientY - 14) + 'px)';
  const over = lane(event);
  $$('.over').forEach((node) => node !== over && node.classList.remove('over'));
  over?.classList.add('over');
}, listen);
document.addEventListener('pointerup', (event) => {
  if (!drag || event.pointerId !== drag.pointer) return;
  const { letter, ghost } = drag, over = ghost && lane(event);
  dropped();
  if (over) rank(letter, over.dataset.r ? +over.dataset.r : null);
}, listen);
document.addEventListener('pointercancel', dropped, listen);
element.addEventListener('dragstart', (event) => event.preventDefault(), listen);
begin();
