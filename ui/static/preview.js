// In the place of sending.js on the page that shows a lead what annotators see: the same functions for the board, but
// tasks are samples (ui/preview_page.py) and nothing is stored, neither on the server nor in this browser.
const makeSending = ({ signal } = {}) => {
  const SAID = 'Preview: nothing was stored.', DRAFT = 'rankloop-draft:preview-';
  const campaign = Number(new URLSearchParams(location.search).get('campaign')) || 0;
  let nth = 0, agreed = false;
  const problem = (status, words) => Object.assign(new Error(words), { status });
  async function call(more = {}) {
    let response;
    const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ campaign, nth, agreed }), cache: 'no-store', signal };
    try { response = await fetch('preview/next', init); } catch { throw problem(0, 'there is no connection'); }
    const reply = await response.json().catch(() => ({}));
    if (!response.ok) throw problem(response.status, reply.error || 'the server failed');
    return { ...reply, ...more };
  }
  async function ask(path) {
    if (path !== 'rank/consent') throw problem(409, 'A preview stores nothing, so there is nothing to change');
    agreed = true;
    return call({ notice: 'Preview: your agreement was not stored.' });
  }
  function forget() { // drafts of samples are of no use to anybody
    for (const key of Object.keys(localStorage)) if (key.startsWith(DRAFT)) localStorage.removeItem(key);
  }
  addEventListener('pagehide', () => { try { forget(); } catch { /* a browser that keeps nothing */ } }, { signal });
  return {
    next: () => call(), submit: () => { nth += 1; return call({ saved: null, notice: SAID }); }, ask,
    pause: async () => ({}), resume: () => call(), refused: () => [], dismiss() {}, queued: () => 0,
  };
};
