// Puts the board's shell away, so that loading the page without a connection still gives a board: see board_worker.js.
// Runs by itself after the board's first moments; a page served by plain http has no service worker and goes without.
const keepShell = async () => {
  const wanted = ['rank/board', 'theme.css', 'vendor/katex/katex.min.css', 'vendor/katex/katex.min.js'];
  try {
    await navigator.serviceWorker.register('board_worker.js');
    const cache = await caches.open('rankloop-board');
    for (const path of wanted) {
      const reply = await fetch(path);
      if (reply.ok && !reply.redirected) await cache.put(path, reply); // a redirect would be the sign-in page
    }
  } catch { /* a browser that keeps nothing shows its own page instead */ }
};
if (globalThis.isSecureContext && navigator.serviceWorker && globalThis.caches && navigator.onLine && !document.documentElement.dataset.alone) {
  setTimeout(keepShell, 1500); // the first task goes before
}
