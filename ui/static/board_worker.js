// A service worker with one purpose: whoever loads the board's page while the server is away gets the board alone, as
// ui.offline_board made it, rather than the browser's error page. The network always goes first, so that nothing here
// is ever old news; what is kept are program files, never a task, an answer or a name.
const KEPT = ['theme.css', 'vendor/katex/katex.min.css', 'vendor/katex/katex.min.js', 'favicon.svg'];
const at = (path) => new URL(path, self.registration.scope).href;
self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));
self.addEventListener('fetch', (event) => {
  const { request } = event, plain = request.url.split(/[?#]/)[0];
  if (request.method !== 'GET') return;
  if (request.mode === 'navigate' && plain === at('./')) event.respondWith(page(request));
  else if (KEPT.some((path) => plain === at(path))) event.respondWith(file(request));
});
async function page(request) {
  let reply = null;
  try { reply = await fetch(request); } catch { /* no connection */ }
  if (reply && reply.status < 500) return reply;
  return (await caches.match(at('rank/board'))) || reply || Response.error();
}
async function file(request) {
  try { return await fetch(request); } catch { return (await caches.match(request, { ignoreSearch: true })) || Response.error(); }
}
