/* Buttons inside server-made markup: <button data-act="open" data-run="…"> sends its data as the event 'act'.
   data-confirm asks first; data-ask asks for a text, sent as `said`; data-show scrolls to an element once it has
   changed; <button data-copy="…"> copies and sends nothing. */
function showWhenReady(target) {
  if (!target) return;
  const watch = new MutationObserver(() => { watch.disconnect(); target.scrollIntoView({ block: 'start' }); });
  watch.observe(target, { childList: true, subtree: true });
  setTimeout(() => watch.disconnect(), 5000);
}
element.addEventListener('click', (event) => {
  const copy = event.target.closest('[data-copy]');
  if (copy && element.contains(copy)) {
    navigator.clipboard?.writeText(copy.dataset.copy).then(() => { copy.textContent = 'Copied'; });
    return;
  }
  const button = event.target.closest('[data-act]');
  if (!button || button.disabled || !element.contains(button)) return;
  if (button.dataset.confirm && !window.confirm(button.dataset.confirm)) return;
  const said = button.dataset.ask ? window.prompt(button.dataset.ask, '') : '';
  if (said === null) return;
  if (button.dataset.show) showWhenReady(document.querySelector(button.dataset.show));
  trigger('act', { ...button.dataset, said });
});
