// What is wrong with a page that shows hostile texts, as a list of sentences; run by test_hostile_inputs.py.
const onBoard = (allowed) => {
  const faults = [], tell = (what, node) => faults.push(what + ' ' + (node?.outerHTML || '').slice(0, 160));
  const tags = new Set(allowed.split(' ')), ours = ['class', 'href', 'title', 'target', 'rel', 'align', 'start', 'dir'];
  for (const node of document.querySelectorAll('.text *')) {
    const formula = node.closest('.katex'), names = [...node.attributes].map((one) => one.name);
    if (!formula && !tags.has(node.tagName)) tell('tag', node);
    if (!formula && names.some((name) => !ours.includes(name)) && !node.closest('.katex-error')) tell('attribute', node);
    if (names.some((name) => name.startsWith('on') || ['id', 'name', 'src', 'srcdoc', 'action'].includes(name))) tell('attribute', node);
    if (node.tagName === 'A' && node.hasAttribute('href') && !['http:', 'https:', 'mailto:'].includes(node.protocol)) tell('link', node);
    if (node.tagName === 'A' && !(node.target === '_blank' && node.relList.contains('noopener'))) tell('link', node);
    if (!node.className && !node.style.length) continue;
    const position = getComputedStyle(node).position;
    if (position === 'fixed' || position === 'sticky') tell(position, node);
    if (position === 'absolute' && !node.closest('.katex-mathml') && !node.offsetParent?.closest('.text')) tell(position, node);
  }
  const inside = (inner, outer) => inner.left >= outer.left - 1 && inner.right <= outer.right + 1 && inner.top >= outer.top - 1 && inner.bottom <= outer.bottom + 1;
  for (const card of document.querySelectorAll('.card')) {
    const frame = card.getBoundingClientRect();
    if (frame.left < 0 || frame.right > innerWidth + 1) tell('a card beside the page', card);
    for (const part of card.children) if (!inside(part.getBoundingClientRect(), frame)) tell('a part outside its card', part);
    const clip = getComputedStyle(card.querySelector('.body'));
    if (clip.overflowX === 'visible' || clip.overflowY === 'visible') tell('a body that does not clip', card);
  }
  for (const part of document.querySelectorAll('.tools *, .dock *, .prompt header *')) {
    const place = part.getBoundingClientRect(), frame = part.closest('.tools, .dock, .prompt').getBoundingClientRect();
    if (place.width && part.checkVisibility() && (place.left < frame.left - 1 || place.right > frame.right + 1)) tell('outside its bar', part);
  }
  if (document.documentElement.scrollWidth > innerWidth + 1) tell('a page wider than the screen');
  const submit = document.querySelector('.submit').getBoundingClientRect();
  const top = document.elementFromPoint(submit.left + submit.width / 2, submit.top + submit.height / 2);
  if (!top?.closest('.submit')) tell('something over the button', top);
  if (window.hit !== undefined || ({}).hit !== undefined || typeof katex.render !== 'function') tell('a changed window');
  return faults; };

const onLeadsPage = () => {
  const faults = [];
  if (window.hit !== undefined || ({}).hit !== undefined) faults.push('a script ran');
  if (document.documentElement.scrollWidth > innerWidth + 1) faults.push('wider than the screen');
  for (const node of document.querySelectorAll('.lead *, .own *')) {
    if ([...node.attributes].some((one) => one.name.startsWith('on'))) faults.push('handler ' + node.outerHTML.slice(0, 160));
    if (['SCRIPT', 'IFRAME', 'OBJECT', 'EMBED', 'BASE', 'META', 'LINK', 'IMG', 'VIDEO'].includes(node.tagName)) faults.push('tag ' + node.outerHTML.slice(0, 160));
    if (node.tagName === 'A' && /^(javascript|data|vbscript):/i.test(node.href)) faults.push('link ' + node.outerHTML.slice(0, 160));
  }
  for (const node of document.querySelectorAll('.lead .card *')) {
    const place = node.getBoundingClientRect(), frame = node.closest('.card').getBoundingClientRect();
    let clip = node.parentElement;
    while (clip && !clip.matches('.card') && getComputedStyle(clip).overflowX === 'visible') clip = clip.parentElement;
    if (place.width && clip?.matches('.card') && place.right > frame.right + 1) faults.push('outside its card ' + node.outerHTML.slice(0, 160));
  }
  return faults; };
