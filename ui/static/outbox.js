// What sending remembers, as plain data: answers that wait to be sent, and tasks leased ahead. Pure functions; nothing
// here touches the page, the clock, the network or the browser's storage. sending.js acts on it, and
// tests/ui/outbox.test.mjs checks this file alone.
//   entry: { version, person, id: the submission's, assignment, order, at: ms, stamp, state: "waiting" | "refused",
//            tries: how often the server failed on it, reason, seen, payload: what is sent }
//   kept:  { version, person, order, until: ms by this browser's clock, task: as the server gave it }
const Outbox = (() => {
  const ANSWER = 'rankloop-answer:', TASK = 'rankloop-task:';
  const STOCK = 3; // the task on screen and two more
  const POISONED = 5; // after so many server errors an answer lets the others pass
  const KEPT_FOR = 30 * 24 * 3600e3; // a refused answer stays this long, in ms
  const BACKOFF = [1000, 2000, 4000, 8000, 16000, 30000];
  const answerKey = (person, id) => ANSWER + person + ':' + id;
  const taskKey = (person, assignment) => TASK + person + ':' + assignment;
  const after = (list) => 1 + Math.max(0, ...list.map((one) => one.order));
  const inOrder = (list) => [...list].sort((a, b) => a.order - b.order || a.at - b.at || (a.id < b.id ? -1 : 1));

  // ---- answers
  // An answer as it is put away. The same submission again keeps its place and takes the new content.
  function entry(person, payload, entries, now) {
    const before = entries.find((one) => one.id === payload.submission_id);
    return {
      version: 1, person, id: payload.submission_id, assignment: payload.assignment, order: before ? before.order : after(entries), at: now,
      stamp: before ? before.stamp + 1 : 1, state: 'waiting', tries: 0, reason: '', seen: false, payload: { ...payload },
    };
  }

  // A stored text as an entry of this person, or null for whatever else it is.
  function decodeEntry(text, person) {
    const one = parsed(text), sound = one && one.version === 1 && one.person === person && typeof one.id === 'string' && one.payload;
    return sound && one.payload.submission_id === one.id && Number.isFinite(one.order) ? one : null;
  }

  const waiting = (entries) => inOrder(entries.filter((one) => one.state === 'waiting'));
  const refused = (entries) => inOrder(entries.filter((one) => one.state === 'refused'));
  const unseen = (entries) => refused(entries).filter((one) => !one.seen);
  const outdated = (one, now) => one.state === 'refused' && one.at < now - KEPT_FOR;

  // What is sent next: the oldest, but one that the server stumbles over does not hold up the rest for ever.
  const first = (entries) => waiting(entries).find((one) => one.tries < POISONED) || waiting(entries)[0] || null;
  const stumbled = (one, status) => (status === 500 ? { ...one, tries: one.tries + 1 } : one);
  const refuse = (one, reason, seen = false) => ({ ...one, state: 'refused', reason, seen });
  const body = (one, asked) => ({ ...one.payload, ...asked });

  // ---- what a reply means
  // { is: "saved" | "refused" | "signed_out" | "forbidden" | "trouble", words }. Only RankLoop's own JSON can save or
  // refuse: a proxy's page, whatever its status, says nothing about the answer.
  function verdict({ status, reply, words }, id) {
    const said = reply && (reply.error || (typeof reply.detail === 'string' ? reply.detail : ''));
    if (status === 200 && reply && reply.state) {
      if (reply.saved === id) return { is: 'saved', words: '' };
      return reply.notice ? { is: 'refused', words: reply.notice } : { is: 'trouble', words: 'the server did not say that it was saved' };
    }
    if (status === 401) return { is: 'signed_out', words: 'you are signed out' };
    if (status === 403 && said) return { is: 'forbidden', words: said };
    if (status === 413) return { is: 'refused', words: said || 'it is larger than the server takes' };
    if ([409, 422].includes(status) && said) return { is: 'refused', words: said };
    return { is: 'trouble', words: words || trouble(status) };
  }

  // Why there is no reply of ours, in words that follow "because" or a dash.
  function trouble(status, late = false) {
    if (!status) return late ? 'the server takes too long' : 'the server does not answer';
    return status < 400 ? 'something between here and the server answered in its place' : 'the server had an error (' + status + ')';
  }

  // What a reply says about the connection: ["", ""] where RankLoop itself answered and lets this person work, else
  // ["offline" | "signed_out" | "forbidden", why].
  function connection({ status, reply, words }) {
    const said = reply && (reply.error || reply.detail);
    if (status === 401) return ['signed_out', 'you are signed out'];
    if (status === 403 && said) return ['forbidden', 'this account may not rank'];
    const ours = (status === 200 && reply && reply.state) || ([409, 422].includes(status) && said) || status === 413;
    return ours ? ['', ''] : ['offline', words || trouble(status)];
  }

  // Milliseconds to wait before try number `tries` (0 is the first); random in [0, 1) spreads the browsers out.
  const delay = (tries, random) => BACKOFF[Math.min(tries, BACKOFF.length - 1)] * (0.8 + 0.4 * random);

  // ---- tasks ahead
  // A task as it is put away. ahead: the server's clock minus ours in ms, so that a wrong clock here does no harm.
  const keep = (person, task, stock, ahead) => {
    const before = stock.find((one) => one.task.assignment === task.assignment);
    return { version: 1, person, order: before ? before.order : after(stock), until: until(task.expires, ahead), task };
  };
  const until = (expires, ahead) => { const at = Date.parse(expires); return Number.isFinite(at) ? at - ahead : Infinity; };
  const renewed = (kept, expires, ahead) => ({ ...kept, until: until(expires, ahead) });

  function decodeTask(text, person) {
    const one = parsed(text), sound = one && one.version === 1 && one.person === person && one.task && typeof one.task.assignment === 'string';
    if (!sound || !Array.isArray(one.task.completions)) return null;
    return one.until === null ? { ...one, until: Infinity } : one; // JSON knows no Infinity
  }

  // Whether a stored text, of whatever person, is no task that may still be worked on.
  function stale(text, now) {
    const one = parsed(text);
    return !one || !one.task || (one.until !== null && !(one.until > now));
  }
  const over = (kept, now) => kept.until <= now;
  const fits = (kept, campaign) => campaign === null || campaign === undefined || kept.task.campaign_id === campaign;
  // The tasks that may be offered, oldest first.
  const offers = (stock, { now, campaign, answered }) =>
    inOrder(stock).filter((kept) => !over(kept, now) && fits(kept, campaign) && !answered.has(kept.task.assignment));
  const have = (stock, asked) => offers(stock, asked).map((kept) => kept.task.assignment);
  const ended = (stock, now) => stock.filter((kept) => over(kept, now));

  // What goes when a reply has brought new tasks: the oldest ones that it did not name, beyond what a page may hold.
  function surplus(stock, named) {
    const unnamed = inOrder(stock).filter((kept) => !named.includes(kept.task.assignment));
    return unnamed.slice(0, Math.max(0, stock.length - STOCK));
  }

  // ---- words for the dock
  // queued: how many wait or are on their way; stopped: "" | "offline" | "signed_out" |
  // "forbidden", and why in words; kept: whether the browser has stored what waits; reason: of the newest refusal.
  function told({ queued, stopped, why, kept, reason }) {
    const answers = queued === 1 ? '1 answer is kept' : queued + ' answers are kept';
    const place = kept ? ' in this browser' : ' only in this window: leave it open, the browser stores no more';
    const then = { offline: queued === 1 ? ' and sent by itself later.' : ' and sent by themselves later.', signed_out: '. Sign in and sending goes on.', forbidden: '.' }[stopped];
    const cause = why ? why[0].toUpperCase() + why.slice(1) : '';
    if (stopped) return { state: 'offline', text: cause + (queued ? ': ' + answers + place + then : '.') };
    if (queued) return { state: 'saving', text: queued > 1 ? 'Saving ' + queued + ' answers…' : 'Saving…' };
    if (reason) return { state: 'refused', text: 'Not stored: ' + reason };
    return { state: 'saved', text: 'Saved' };
  }

  function parsed(text) { try { const one = JSON.parse(text); return one && typeof one === 'object' ? one : null; } catch { return null; } }

  return { ANSWER, TASK, STOCK, answerKey, taskKey, entry, decodeEntry, waiting, refused, unseen, outdated, first, stumbled, refuse, body,
    verdict, trouble, connection, parsed, delay, keep, renewed, decodeTask, stale, over, offers, have, ended, surplus, told };
})();
