// What every part of the board stands on: finding and making nodes, icons, storage, announcements, dialogs, the clock.
// Runs as part of one function with the other board files, in the order of ui.ranking_board; in scope: element.
// Knows nothing about answers.
const $ = (selector, root = element) => root.querySelector(selector);
const $$ = (selector, root = element) => [...root.querySelectorAll(selector)];
const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === 'text') node.textContent = value; else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children);
  return node;
};
const button = (classes, label, attributes = {}) => make('button', { type: 'button', class: classes, text: label, ...attributes });
const gone = new AbortController(), listen = { signal: gone.signal };

// ------------------------------------------------------------------ icons: outlines on a field of 24
const PATHS = {
  flag: 'M5 21V4h12l-2.5 4.5L17 13H5', fold: 'M6 9l6 6 6-6', pause: 'M9 5v14M15 5v14', play: 'M8 5l11 7-11 7z', book: 'M12 6c-2-1.6-5-2-8-2v14c3 0 6 .4 8 2 2-1.6 5-2 8-2V4c-3 0-6 .4-8 2zM12 6v14',
  differ: 'M4 7h9M4 12h6M4 17h9M18 6v6M15 9h6M15 17h6', pencil: 'M4 20l1-4L16 5l3 3L8 19zM14 7l3 3', check: 'M5 12.5l4.5 4.5L19 7.5', cover: 'M3 12s3.5-6 9-6 9 6 9 6-3.5 6-9 6-9-6-9-6zM4 4l16 16',
  up: 'M7 11v9H4v-9zM7 11l4-8c1.700 0 2.600 1.200 2.400 2.600L12.900 9H18c1.400 0 2.400 1.200 2.100 2.600l-1.400 6.700c-.2 1-1.100 1.700-2.100 1.700H7', down: 'M7 13V4H4v9zM7 13l4 8c1.700 0 2.600-1.200 2.400-2.600L12.900 15H18c1.400 0 2.400-1.200 2.100-2.600l-1.400-6.700C18.500 4.700 17.600 4 16.600 4H7',
  offline: 'M4 4l16 16M8 8.200A9 9 0 0 0 4 11M16 9.500a9 9 0 0 1 4 1.500M9 14.500a4.500 4.500 0 0 1 5-.5M12 18.500v.01', swap: 'M7 8h12l-3-3M17 16H5l3 3', key: 'M8 16a4 4 0 1 1 3.500-5.900H21v4h-3v2h-3v-2.200h-3.500A4 4 0 0 1 8 16z', people: 'M9 11a3.500 3.500 0 1 0 0-7 3.500 3.500 0 0 0 0 7zM2.500 20c0-3.600 2.900-6 6.500-6s6.500 2.400 6.500 6M16 4.500a3.500 3.500 0 0 1 0 6.500M18 14.500c2.100.8 3.500 2.800 3.500 5.500',
  paper: 'M6 3h9l4 4v14H6zM9 12h7M9 16h7M14 3v5h5', ranks: 'M4 6h16M4 12h11M4 18h6', warn: 'M12 4l9 16H3zM12 10v4M12 17v.01',
};
function icon(name) {
  const space = 'http://www.w3.org/2000/svg', drawn = document.createElementNS(space, 'svg'), path = document.createElementNS(space, 'path');
  drawn.setAttribute('viewBox', '0 0 24 24'); drawn.setAttribute('class', 'icon'); drawn.setAttribute('aria-hidden', 'true');
  path.setAttribute('d', PATHS[name]);
  drawn.append(path);
  return drawn;
}

// ------------------------------------------------------------------ this browser's memory
const store = {
  get(key) { try { return localStorage.getItem(key); } catch { return null; } },
  set(key, text) { try { localStorage.setItem(key, text); return true; } catch { return false; } },
  drop(key) { try { localStorage.removeItem(key); } catch { /* nothing was kept then */ } },
  keys(start) { try { return Object.keys(localStorage).filter((key) => key.startsWith(start)); } catch { return []; } },
};

// ------------------------------------------------------------------ words for those who listen, markup for those who look
const say = (text) => { const live = $('.live'); live.textContent = ''; live.textContent = text; };
const calm = () => window.matchMedia('(prefers-reduced-motion: reduce)').matches;
let broughtAt = -1e9;
function bring(node, block = 'nearest') { // a scroll still on its way to the card before is stopped, or it would go on
  if (performance.now() - broughtAt < 800) window.scrollTo({ top: window.scrollY, behavior: 'instant' });
  broughtAt = performance.now();
  node?.scrollIntoView({ block, behavior: calm() ? 'auto' : 'smooth' });
}
// `markup` comes from ui.markup, which lets only an allow-list through. Formulas are set by KaTeX, which takes its time:
// prepare() does it for texts that come next, while nobody waits.
const prepared = new Map(), MOST_PREPARED = 60;
function fill(node, markup) {
  const ready = prepared.get(markup);
  if (ready) { prepared.delete(markup); node.replaceChildren(ready.content); } else { node.innerHTML = markup || ''; setFormulas(node); }
  return node;
}
function setFormulas(node) {
  if (!window.katex) return;
  const until = performance.now() + 1500;
  for (const span of $$('.tex', node)) {
    if (performance.now() > until) break;
    const source = span.textContent, displayMode = span.classList.contains('tex-display');
    try { katex.render(source, span, { displayMode, throwOnError: false, trust: false, strict: 'ignore', maxExpand: 200, maxSize: 20 }); }
    catch { span.textContent = source; }
  }
}
const whenIdle = (work) => (window.requestIdleCallback ? requestIdleCallback(work, { timeout: 4000 }) : setTimeout(work, 300));
function prepare(markups) { // one text per idle moment
  const [markup, ...rest] = markups.filter((one) => one.includes('class="tex') && !prepared.has(one));
  if (!markup) return;
  whenIdle(() => {
    const node = make('template');
    node.innerHTML = markup;
    setFormulas(node.content);
    prepared.set(markup, node);
    if (prepared.size > MOST_PREPARED) prepared.delete(prepared.keys().next().value);
    prepare(rest);
  });
}
function keyLine(keys, meaning) { // "1 – 4 rank": keys as [["1"], "–", ["4"]]
  return make('span', {}, ...keys.flatMap((key) => [Array.isArray(key) ? make('kbd', { text: key[0] }) : key, ' ']), meaning);
}

// ------------------------------------------------------------------ dialogs: one at a time, focus kept inside, Esc closes
let opened = null; // { name, box, close }
function dialog(name, title, content, { closed = null, back = null } = {}) {
  opened?.close();
  const before = back || document.activeElement;
  const closing = button('close', '✕', { 'aria-label': 'Close', title: 'Close (Esc)' });
  const box = make('div', { class: 'dialog ' + name, role: 'dialog', 'aria-modal': 'true', 'aria-labelledby': 'board-dialog-title', tabindex: '-1' },
    make('header', {}, make('h2', { id: 'board-dialog-title', text: title }), closing), ...content);
  const scrim = make('div', { class: 'scrim' }, box);
  const close = () => {
    if (opened?.box !== box) return;
    opened = null; scrim.remove(); closed?.();
    (before?.isConnected ? before : $('.card.current'))?.focus({ preventScroll: true });
  };
  closing.addEventListener('click', close);
  scrim.addEventListener('pointerdown', (event) => { if (event.target === scrim) { event.preventDefault(); close(); } });
  scrim.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') { event.preventDefault(); event.stopPropagation(); close(); }
    if (event.key === 'Tab') stayInside(box, event);
  });
  opened = { name, box, close };
  element.append(scrim);
  (box.querySelector('[autofocus]') || box).focus({ preventScroll: true });
  return { box, close };
}
function stayInside(box, event) {
  const stops = $$('button, input, select, textarea, a[href], [tabindex="0"]', box).filter((node) => !node.disabled && node.tabIndex >= 0 && node.getClientRects().length);
  const first = stops[0], last = stops[stops.length - 1], here = document.activeElement;
  if (event.shiftKey && (here === first || here === box)) { event.preventDefault(); last?.focus(); }
  else if (!event.shiftKey && (here === last || !box.contains(here))) { event.preventDefault(); first?.focus(); }
}

// One choice of several as radio buttons: Tab reaches the chosen one, arrows move.
function radios(classes, label, options, chosen, pick) { // options: [[value, words, name?], …]
  const group = make('div', { class: classes, role: 'radiogroup', 'aria-label': label });
  const draw = (value) => $$('[role=radio]', group).forEach((one, index) => {
    const on = one.dataset.value === String(value);
    one.setAttribute('aria-checked', String(on)); one.tabIndex = on || (value === null && index === 0) ? 0 : -1;
  });
  group.append(...options.map(([value, words, name]) => button('radio', words, { role: 'radio', 'data-value': value, 'aria-label': name || null })));
  group.addEventListener('click', (event) => { const at = event.target.closest('[role=radio]'); if (at) { draw(at.dataset.value); pick(at.dataset.value); } });
  group.addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key], all = $$('[role=radio]', group);
    if (!step) return;
    event.preventDefault(); event.stopPropagation();
    const next = all[(all.indexOf(document.activeElement) + step + all.length) % all.length];
    next.focus(); next.click();
  });
  draw(chosen);
  return { group, draw };
}

// ------------------------------------------------------------------ active time: not while hidden, paused or waiting
const clock = {
  spent: 0, since: null,
  start() { if (this.since === null && !document.hidden) this.since = performance.now(); },
  stop() { if (this.since !== null) { this.spent += performance.now() - this.since; this.since = null; } },
  reset() { this.spent = 0; this.since = null; this.start(); },
  seconds() { return Math.round(this.spent + (this.since === null ? 0 : performance.now() - this.since)) / 1000; },
};
