// The only code of the board that talks to the server. An answer is put away in this browser before it leaves and is
// removed when the server has said that it is stored; a task leased ahead is put away too, so that there is work while
// the connection is down. Decides with outbox.js, shares with other tabs by tabs.js, and draws nothing: the board is
// told by onState({ state, queued, text }), onView(view) and onNotice(text). `signal` ends it.
const makeSending = ({ onState = () => {}, onView = () => {}, onNotice = () => {}, signal } = {}) => {
  const AHEAD = 2, GO_ON = 4000, GIVE_UP = 30000, RENEW = 300000, RELOADED = 300, PLACE = 'rankloop-tab', COUNTS = 'rankloop-counts:';
  const SAID = {
    elsewhere: 'Your open tasks are open in your other windows.', another: 'Another account has signed in in this browser; this page is theirs now.',
    mine: 'another account has signed in in this browser; the answer is kept here for its owner', there: 'You answered this task in another window.',
    sent: 'Your answer has been saved.', ended: "A kept task's lease ended, so it is not offered any more.", lapsed: "This task's lease ended. Finish it if you like: a late answer is taken too.",
  };
  const who = () => /(?:^|;\s*)rankloop_person=([\w-]+)/.exec(document.cookie)?.[1] || '';
  const pass = (ms) => new Promise((done) => setTimeout(done, ms));
  const problem = (status, words) => Object.assign(new Error(words), { status });
  let person = who(), campaign = null, current = null, release = null, counts = {}, skew = 0, turn = Promise.resolve();
  let stopped = '', why = '', stuck = false, slow = false, asking = false, paused = false, tries = 0, timer = 0, draining = null, renewed = Date.now(), owed = {}, last = '';
  const waiters = new Map(), answered = new Set(); // by submission; assignments answered here
  const shelf = makeShelf(() => person !== ''), tabs = makeTabs(shelf, heard, signal); // of nobody known nothing is stored

  // ---------------------------------------------------------------- what is put away
  const read = (prefix, decode) => shelf.keys(prefix + person + ':').map((key) => decode(shelf.get(key), person)).filter(Boolean);
  const entries = () => read(Outbox.ANSWER, Outbox.decodeEntry), waiting = () => Outbox.waiting(entries());
  const stock = () => read(Outbox.TASK, Outbox.decodeTask);
  const dropTask = (assignment) => shelf.drop(Outbox.taskKey(person, assignment));
  const dropEntry = (id) => shelf.drop(Outbox.answerKey(person, id));
  const rules = () => ({ now: Date.now(), campaign, answered: new Set([...answered, ...entries().map((one) => one.assignment)]) });
  const asked = () => ({ campaign, ahead: AHEAD, have: Outbox.have(stock(), rules()) });
  function putEntry(entry) { // a full storage gives up the tasks ahead before it gives up an answer
    const key = Outbox.answerKey(entry.person, entry.id), text = JSON.stringify(entry);
    if (shelf.put(key, text)) return;
    for (const kept of stock()) if (kept.task.assignment !== current?.assignment) dropTask(kept.task.assignment);
    shelf.put(key, text);
  }
  function putTask(task) {
    if (rules().answered.has(task.assignment)) return;
    shelf.put(Outbox.taskKey(person, task.assignment), JSON.stringify(Outbox.keep(person, task, stock(), skew)));
  }
  function take(view) { // what a reply brings besides its task on screen
    const { today, total, left, campaigns, may_lead } = view, tasks = [view.task, ...(view.ahead || [])].filter(Boolean);
    if (today !== undefined) shelf.put(COUNTS + person, JSON.stringify(counts = { today, total, left, campaigns, may_lead }));
    tasks.forEach(putTask);
    if (tasks.length) for (const kept of Outbox.surplus(stock(), tasks.map((task) => task.assignment))) dropTask(kept.task.assignment);
  }
  function tidy() { // what is over goes, whoever it was for
    for (const key of shelf.keys(Outbox.TASK)) if (Outbox.stale(shelf.get(key), Date.now())) shelf.drop(key);
    for (const entry of entries()) if (Outbox.outdated(entry, Date.now())) dropEntry(entry.id);
  }
  function announce() {
    const mine = entries(), queue = Outbox.waiting(mine), refused = Outbox.unseen(mine);
    const kept = queue.every((entry) => shelf.lasts(Outbox.answerKey(person, entry.id)));
    const told = { queued: queue.length, ...Outbox.told({ queued: queue.length, stopped, why, kept, reason: refused.at(-1)?.reason }) };
    const before = last;
    last = JSON.stringify(told);
    if (last !== before) onState(told);
  }

  // ---------------------------------------------------------------- one call
  async function post(path, body) { // { status, reply, words }, and never an exception
    const patience = new AbortController(), limit = setTimeout(() => patience.abort(), GIVE_UP);
    let answer;
    try {
      const response = await fetch(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body), signal: patience.signal, cache: 'no-store' });
      const text = await response.text(), at = Date.parse(response.headers.get('date'));
      if (Number.isFinite(at)) skew = at - Date.now();
      answer = { status: response.status, reply: Outbox.parsed(text), words: Outbox.trouble(response.status) };
    } catch { answer = { status: 0, reply: null, words: Outbox.trouble(0, patience.signal.aborted) }; }
    clearTimeout(limit);
    note(answer);
    return answer;
  }
  function note(answer) { // what the reply says about the connection
    const before = stopped;
    [stopped, why] = Outbox.connection(answer);
    slow = false;
    if (!stopped) tries = 0;
    if (before && !stopped) { tabs.tell({ tell: 'back', person }); setTimeout(kick); }
    if (stopped) retryLater();
    announce();
  }
  function retryLater() {
    clearTimeout(timer);
    if (signal?.aborted) return;
    timer = setTimeout(kick, Outbox.delay(stopped === 'offline' ? tries : Infinity, Math.random()));
    tries += 1;
  }
  function kick() { // go on with whatever waits for the server
    clearTimeout(timer);
    if (signal?.aborted) return null;
    if (!belongs()) return changeHands();
    if (waiting().length) return drain();
    if (document.hidden) return null; // asked again when somebody looks
    if (stuck && !paused) return again();
    return stopped ? renew() : null;
  }

  // ---------------------------------------------------------------- the outbox
  function drain() { // in order, one at a time, one tab at a time
    draining ||= (async () => {
      let latest = null;
      try { latest = await tabs.alone('outbox:' + person, sendAll, GIVE_UP + 15000); } finally { draining = null; }
      return afterwards(latest);
    })();
    return draining;
  }
  async function sendAll() {
    let latest = null;
    for (let entry; belongs() && (entry = Outbox.first(entries()));) {
      const answer = await post('rank/answer', Outbox.body(entry, asked())), verdict = Outbox.verdict(answer, entry.id);
      if (verdict.is !== 'saved' && verdict.is !== 'refused') { stop(entry, verdict, answer.status); return latest; }
      if (verdict.is === 'refused' && !belongs()) break; // refused to somebody else, which says nothing
      latest = settle(entry, verdict, answer) || latest;
    }
    return latest;
  }
  function settle(entry, verdict, answer) { // the server has decided; returns its view where nobody waits for it
    const key = Outbox.answerKey(person, entry.id), now = Outbox.decodeEntry(shelf.get(key), person), waiter = waiters.get(entry.id);
    const anew = now && now.stamp !== entry.stamp; // answered anew meanwhile: that goes next
    if (!anew && verdict.is === 'saved') shelf.drop(key);
    if (!anew && verdict.is === 'refused') putEntry(Outbox.refuse(entry, verdict.words, Boolean(waiter)));
    tabs.tell({ tell: 'settled', person, id: entry.id, assignment: entry.assignment, is: verdict.is, words: verdict.words });
    const view = answer.status === 200 ? answer.reply : null;
    if (view) take(view);
    if (waiter) { waiter({ ...verdict, status: answer.status, view }); return null; }
    if (verdict.is === 'refused') onNotice('An answer was not stored: ' + verdict.words);
    for (const part of ['feedback', 'warning']) if (view?.[part]) owed[part] = view[part];
    return view;
  }
  function stop(entry, verdict, status) { // nothing more goes out for now
    const now = entries().find((one) => one.id === entry.id);
    if (now && now.stamp === entry.stamp) putEntry(Outbox.stumbled(entry, status));
    for (const waiter of waiters.values()) waiter({ ...verdict, status });
    if (!stopped) { [stopped, why] = ['offline', verdict.words]; retryLater(); }
    announce();
  }
  async function afterwards(latest) {
    announce();
    if (!belongs()) { for (const waiter of waiters.values()) waiter({ is: 'another', status: 409, words: SAID.mine }); return changeHands(); }
    if (waiting().length && !stopped) return drain();
    if (stopped && !waiting().length) return stuck && !paused ? refresh() : renew(); // another tab sent it all: is the server back?
    const left = entries();
    for (const [id, waiter] of waiters) { // another tab was quicker
      const entry = left.find((one) => one.id === id);
      if (!entry || entry.state === 'refused') waiter({ is: entry ? 'refused' : 'saved', status: 200, words: entry?.reason || '' });
    }
    const finished = current && !waiters.size && rules().answered.has(current.assignment);
    if (stopped || paused || !(stuck || finished)) return null;
    const more = finished ? { notice: SAID.sent, settled: current.assignment } : {};
    return latest ? onView(await give(latest, more)) : refresh(more);
  }

  // ---------------------------------------------------------------- the next task
  const inTurn = (work) => { turn = turn.then(work, work); return turn; };
  async function moveTo(task, patience = 0) { // show this task here, where no other tab shows it
    if (task && current?.assignment === task.assignment) { current = task; return true; }
    const right = task && await tabs.hold('task:' + task.assignment, patience);
    if (task && !right) return false;
    release?.();
    [current, release] = [task, right];
    try { if (task) sessionStorage.setItem(PLACE, task.assignment); } catch { /* a reload may then show another one first */ }
    return true;
  }
  async function choose(first) { // the task that was on screen, else the server's, else the oldest that is kept
    const kept = Outbox.offers(stock(), rules()).map((one) => one.task), fresh = first && !rules().answered.has(first.assignment) ? [first] : [];
    let before = current?.assignment;
    try { before ||= sessionStorage.getItem(PLACE); } catch { /* none then */ }
    const mine = kept.filter((task) => task.assignment === before);
    for (const task of [...mine, ...fresh, ...kept]) if (await moveTo(task, task === mine[0] ? RELOADED : 0)) return task;
    await moveTo(null);
    return null;
  }
  const give = (view, more = {}) => inTurn(async () => { // a reply as the board shows it
    take(view);
    stuck = false;
    const extra = { ...owed, ...more };
    owed = {};
    if (view.notice && more.notice) extra.notice = more.notice + ' ' + view.notice;
    if (view.state !== 'task') { // the server has none for us: what is kept is void
      for (const kept of stock()) if (campaign === null || kept.task.campaign_id === campaign) dropTask(kept.task.assignment);
      await moveTo(null);
      return { ...view, ...extra };
    }
    const task = await choose(view.task);
    return task ? { ...view, ...extra, task } : { ...view, ...extra, state: 'empty', task: undefined, notice: SAID.elsewhere };
  });
  const fromStock = (words) => inTurn(async () => { // without the server
    const over = Outbox.ended(stock(), Date.now()).filter((kept) => kept.task.assignment !== current?.assignment);
    for (const kept of over) dropTask(kept.task.assignment);
    const task = await choose(null), queued = waiting().length;
    if (counts.today === undefined) counts = Outbox.parsed(shelf.get(COUNTS + person)) || { today: 0, total: 0 };
    const common = { ...counts, saved: null, queued: queued > 0, queued_answers: queued, notice: over.length ? SAID.ended : '' };
    if (task) return { ...common, state: 'task', task, ahead: [] };
    stuck = true;
    return { ...common, state: 'offline', why: words };
  });
  const soon = async (promised) => { // nothing where it takes long, and nobody is kept waiting twice for one slow reply
    const late = {}, first = await Promise.race([promised, pass(slow ? 0 : GO_ON).then(() => late)]);
    if (first === late) slow = true;
    return first === late ? undefined : first;
  };
  async function next(wanted = null) {
    campaign = wanted;
    if (!belongs()) takeOver();
    if (waiting().length) await soon(drain());
    const call = post('rank/next', asked());
    let answer = await soon(call);
    if (!answer) { // slow: what is kept will do meanwhile
      const view = await fromStock(Outbox.trouble(0, true));
      if (view.state === 'task') { call.then(({ status, reply }) => status === 200 && reply?.state && take(reply)); return view; }
      answer = await call;
    }
    if (!belongs()) takeOver(); // the reply is already theirs
    if (answer.status === 200 && answer.reply?.state) return give(answer.reply);
    if (stopped === 'offline') return fromStock(answer.words);
    stuck = true;
    throw refusal(answer);
  }
  async function again() { // once, however many signs of life there are
    if (asking) return;
    asking = true;
    try { await refresh(); } finally { asking = false; }
  }
  function refusal({ status, reply, words }) {
    const said = reply && (reply.error || (typeof reply.detail === 'string' && reply.detail));
    return status === 401 ? problem(401, 'you are signed out') : problem(status, [403, 409, 413, 422].includes(status) && said ? said : words);
  }
  async function refresh(more = {}) { // a view that nobody asked for; settled: the assignment that was on screen and is done
    try {
      const view = await next(campaign), notice = [more.notice, view.notice].filter(Boolean).join(' ');
      if (view.state !== 'offline' || more.notice) onView({ ...view, ...more, notice });
    } catch { announce(); /* signed out or not allowed: the board knows, and the next look tries again */ }
  }

  // ---------------------------------------------------------------- an answer
  async function submit(payload) {
    if (!belongs()) { putEntry(Outbox.entry(person, payload, entries(), Date.now())); changeHands(); throw problem(409, SAID.mine); }
    const entry = Outbox.entry(person, payload, entries(), Date.now());
    putEntry(entry);
    answered.add(entry.assignment);
    dropTask(entry.assignment);
    tabs.tell({ tell: 'answered', person, id: entry.id, assignment: entry.assignment });
    const settled = new Promise((done) => waiters.set(entry.id, done));
    announce();
    drain();
    let outcome = await soon(settled);
    if (!outcome) { // slow: go on with a kept task while the answer is on its way
      const view = await fromStock(Outbox.trouble(0, true));
      outcome = view.state === 'task' ? { is: 'queued', view } : await settled;
    }
    waiters.delete(entry.id);
    return conclude(entry, outcome);
  }
  async function conclude(entry, { is, view, status, words }) {
    if (is === 'queued') return view;
    if (is === 'trouble') return fromStock(words);
    if (is === 'saved') return view ? give(view) : onward({ saved: entry.id });
    if (is === 'refused' && status === 200) return view ? give(view) : onward({ notice: words });
    if (is === 'refused') { dropEntry(entry.id); answered.delete(entry.assignment); announce(); }
    throw problem(status, words);
  }
  async function onward(more) { // the answer is settled, whatever becomes of the next task
    try { return { ...(await next(campaign)), ...more }; } catch (error) { return { ...(await fromStock(error.message)), ...more }; }
  }
  async function ask(path, body = {}) {
    const answer = await post(path, body), { status, reply } = answer;
    if (status !== 200 || !reply?.state) throw refusal(answer);
    return reply.state === 'task' && !reply.task.revises ? give(reply) : reply;
  }

  // ---------------------------------------------------------------- leases, pauses
  async function renew() {
    const mine = [...new Set([current?.assignment, ...asked().have].filter(Boolean))];
    renewed = Date.now();
    const { status, reply } = await post('rank/renew', { assignments: mine });
    if (status !== 200 || !reply?.alive) return;
    const alive = new Map(reply.alive.map((lease) => [lease.assignment, lease.expires]));
    for (const kept of stock()) {
      const assignment = kept.task.assignment;
      if (alive.has(assignment)) shelf.put(Outbox.taskKey(person, assignment), JSON.stringify(Outbox.renewed(kept, alive.get(assignment), skew)));
      else if (mine.includes(assignment)) dropTask(assignment);
    }
    if (current && mine.includes(current.assignment) && !alive.has(current.assignment) && !answered.has(current.assignment)) onNotice(SAID.lapsed);
  }
  // Hand back what this tab holds, but for `keep`: assignments whose draft the annotator wants to find again.
  async function pause(keep = []) {
    paused = true;
    const back = current && !keep.includes(current.assignment) && !answered.has(current.assignment) ? [current.assignment] : [];
    for (const assignment of asked().have) {
      const right = assignment !== current?.assignment && !keep.includes(assignment) && await tabs.hold('task:' + assignment);
      if (right) { right(); back.push(assignment); }
    }
    back.forEach(dropTask);
    await inTurn(() => moveTo(null));
    if (back.length) await post('rank/release', { assignments: back });
  }
  function resume() { paused = false; return next(campaign); }

  // ---------------------------------------------------------------- other tabs, other people, and being back
  function heard(message) {
    if (!message || message.person !== person || signal?.aborted) return;
    const { tell, id, assignment, is, words } = message, waiter = waiters.get(id), here = current?.assignment === assignment;
    if (tell === 'back' && stopped) kick();
    if (tell === 'answered') answered.add(assignment);
    if (tell === 'settled' && waiter) waiter({ is, words, status: 200 });
    else if (here && !waiter && !paused && tell !== 'back') leave({ answered: SAID.there, saved: SAID.sent }[is || tell] || 'Your answer was not stored: ' + words);
    announce();
  }
  function leave(notice) { // the task on screen is done, though not from here
    const settled = current.assignment;
    release?.();
    [current, release] = [null, null];
    return refresh({ notice, settled });
  }
  function belongs() { const now = who(); return !now || now === person; }
  function takeOver() { // nothing of the earlier person stays in memory; their answers stay put away for them
    const nobodys = person ? [] : entries();
    release?.();
    [person, current, release, counts, owed, last] = [who(), null, null, {}, {}, ''];
    answered.clear();
    for (const entry of nobodys) putEntry({ ...entry, person });
  }
  function changeHands() { takeOver(); stuck = true; return refresh({ notice: SAID.another }); }
  function looked() {
    if (document.hidden) return;
    if (!belongs() || stopped || stuck || waiting().length) { tries = 0; kick(); }
    else if (Date.now() - renewed > RENEW && !paused) renew();
  }
  const listening = { signal };
  addEventListener('online', () => { tries = 0; kick(); }, listening);
  addEventListener('offline', () => { [stopped, why] = ['offline', 'there is no connection']; retryLater(); announce(); }, listening);
  addEventListener('focus', looked, listening);
  addEventListener('pageshow', looked, listening);
  document.addEventListener('visibilitychange', looked, listening);
  addEventListener('beforeunload', (event) => { // only where leaving would lose an answer
    if (waiting().some((entry) => !shelf.lasts(Outbox.answerKey(person, entry.id)))) event.preventDefault();
  }, listening);
  const renewing = setInterval(() => { if (!document.hidden && !paused && !stopped && current) renew(); }, RENEW);
  signal?.addEventListener('abort', () => { clearInterval(renewing); clearTimeout(timer); release?.(); });
  tidy();
  announce();
  if (waiting().length) setTimeout(drain); // what an earlier visit has left

  // refused(): the answers that were not stored, with reason and payload; dismiss(id): the annotator has read why.
  const refused = () => Outbox.refused(entries());
  const dismiss = (id) => { const entry = refused().find((one) => one.id === id); if (entry) putEntry({ ...entry, seen: true }); announce(); };
  return { next, submit, ask, pause, resume, refused, dismiss, queued: () => waiting().length };
};
