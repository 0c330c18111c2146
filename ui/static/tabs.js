// What the tabs of one browser share: a shelf of texts, words from one to the others, and locks. Runs before sending.js
// in the same function. Everything here works less well rather than fail where a browser lacks a part: without
// localStorage the shelf is this tab's memory, without BroadcastChannel words travel by storage events, and without
// Web Locks (a page served by plain http has none) a lock is a note on the shelf that somebody must keep renewing.

// ------------------------------------------------------------------ texts under keys
// put() says whether the text outlives this window. A text that found no place is kept in memory, and read first.
// trusted() says whether the browser's storage may be used at all.
const makeShelf = (trusted) => {
  const memory = new Map();
  const each = (act) => { try { return trusted() ? act(localStorage) : null; } catch { return null; } };
  const drop = (key) => { memory.delete(key); each((disk) => disk.removeItem(key)); };
  return {
    put(key, text) {
      if (each((disk) => { disk.setItem(key, text); return true; })) { memory.delete(key); return true; }
      memory.set(key, text);
      return false;
    },
    get: (key) => memory.get(key) ?? each((disk) => disk.getItem(key)),
    drop,
    lasts: (key) => !memory.has(key),
    keys(prefix) {
      const stored = each((disk) => Object.keys(disk)) || [];
      return [...new Set([...stored, ...memory.keys()])].filter((key) => key.startsWith(prefix));
    },
  };
};

// ------------------------------------------------------------------ words and locks
// onWord(message) gets what another tab told; signal ends it all.
const makeTabs = (shelf, onWord, signal) => {
  const WORD = 'rankloop-word', LOCK = 'rankloop-lock:', LASTS = 90000, RENEWED = 20000, SETTLES = 20, LOOKS = 150;
  const me = Math.random().toString(36).slice(2) + Date.now().toString(36);
  const locks = globalThis.isSecureContext ? navigator.locks : undefined;
  const after = (ms) => new Promise((done) => setTimeout(done, ms));
  let channel = null;
  try { channel = new BroadcastChannel('rankloop-sending'); } catch { /* storage events do it then */ }
  if (channel) {
    channel.addEventListener('message', (event) => onWord(event.data));
    signal?.addEventListener('abort', () => channel.close());
  } else {
    addEventListener('storage', (event) => { if (event.key === WORD && event.newValue) onWord(JSON.parse(event.newValue).message); }, { signal });
  }

  function tell(message) {
    if (signal?.aborted) return;
    if (channel) { channel.postMessage(message); return; }
    shelf.put(WORD, JSON.stringify({ message, once: me + Math.random() })); // equal texts would raise no event
    shelf.drop(WORD);
  }

  // The right to `name` as a function that gives it back, or null where another tab has it for longer than `patience` ms.
  function hold(name, patience = 0) {
    return locks ? heldByBrowser(name, patience) : heldByNote(LOCK + name, patience);
  }

  function heldByBrowser(name, patience) {
    return new Promise((decided) => {
      const impatient = new AbortController(), timer = patience && setTimeout(() => impatient.abort(), patience);
      locks.request(LOCK + name, patience ? { signal: impatient.signal } : { ifAvailable: true }, (lock) => {
        clearTimeout(timer);
        if (!lock) return decided(null);
        return new Promise((release) => decided(release));
      }).catch((error) => decided(error.name === 'AbortError' ? null : () => {})); // a browser that refuses locks
    });
  }

  async function heldByNote(key, patience) {
    const mine = () => noteOf(key)?.tab === me;
    for (let waited = 0; ; waited += LOOKS) {
      const note = noteOf(key);
      if (!note || note.tab === me || note.until < Date.now()) {
        const write = () => shelf.put(key, JSON.stringify({ tab: me, until: Date.now() + LASTS }));
        write();
        await after(SETTLES); // of two that wrote at once the later one has it
        if (mine()) return kept(key, write, mine);
      }
      if (waited >= patience) return null;
      await after(LOOKS);
    }
  }
  function kept(key, write, mine) {
    const renewing = setInterval(() => mine() && write(), RENEWED);
    const release = () => { clearInterval(renewing); if (mine()) shelf.drop(key); };
    addEventListener('pagehide', release, { signal, once: true });
    return release;
  }
  const noteOf = (key) => { try { return JSON.parse(shelf.get(key)); } catch { return null; } };

  // Do `work` while no other tab does work of this name. After `patience` ms it is done all the same.
  async function alone(name, work, patience) {
    const release = await hold(name, patience);
    try { return await work(); } finally { setTimeout(() => release?.(), SETTLES); } // what was put away or dropped has to arrive in the other tabs
  }

  return { tell, hold, alone };
};
