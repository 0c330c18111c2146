// js_on_load of ui.navigation.top_bar; in scope: element, props, watch. Draws the bar; decides nothing.
const find = (selector) => element.querySelector(selector);
function draw() {
  const told = props.value;
  if (!told || !told.pages) return;
  find('nav').replaceChildren(...(told.pages.length > 1 ? told.pages : []).map(([path, title]) => {
    const link = document.createElement('a');
    link.textContent = title;
    link.href = './' + path;
    if (path === find('.bar').dataset.active) link.setAttribute('aria-current', 'page');
    return link;
  }));
  find('nav [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' });
  const name = document.createElement('b');
  name.textContent = told.name;
  find('.who').replaceChildren(name, ' · ' + told.role);
  find('.out').hidden = false;
}
find('.shade').addEventListener('click', (event) => {
  if (event.detail) event.currentTarget.blur(); // so that the next Enter is the board's
  const dark = document.body.classList.toggle('dark');
  try { localStorage.setItem('rankloop-theme', dark ? 'dark' : 'light'); } catch { /* forgotten at the next page */ }
});
try { // the reader's own choice of light or dark goes before the system's, and behind the address
  const chosen = localStorage.getItem('rankloop-theme');
  if (chosen && !new URL(location.href).searchParams.has('__theme')) document.body.classList.toggle('dark', chosen === 'dark');
} catch { /* without storage the system decides */ }
watch('value', draw);
draw();
