/* Buttons inside server-made markup: <button data-act="open" data-run="…"> sends its data as the event 'act'. */
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-act]');
  if (!button || button.disabled || !element.contains(button)) return;
  if (button.dataset.confirm && !window.confirm(button.dataset.confirm)) return;
  trigger('act', { ...button.dataset });
});
