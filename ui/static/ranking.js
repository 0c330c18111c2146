// The part of the board that thinks. Pure functions on one answer in the making:
//   { letters: ["A", …], ranks: { A: 1 | null, … }, kind: "ranking" | "all_bad" | "cannot_judge" | "skip",
//     cursor: index of the current card, past: earlier { ranks, kind }, newest last }
// Every function takes a state and gives a new one. Nothing here touches the page, the clock or the network;
// ranking_board.js draws, and tests/ui/ranking.test.mjs checks this file alone.
const Ranking = (() => {
  const ORDINALS = ["", "1st", "2nd", "3rd", "4th", "5th", "6th", "7th", "8th", "9th"];
  const KINDS = ["ranking", "all_bad", "cannot_judge", "skip"];
  const KEPT_STEPS = 100;

  const create = (letters) => ({
    letters: [...letters],
    ranks: Object.fromEntries(letters.map((letter) => [letter, null])),
    kind: "ranking",
    cursor: 0,
    past: [],
  });

  const count = (state) => state.letters.length;
  const left = (state) => state.letters.filter((letter) => !state.ranks[letter]).length;
  const touched = (state) => left(state) < count(state);
  const ready = (state) => state.kind !== "ranking" || left(state) === 0;
  const isRank = (state, rank) => Number.isInteger(rank) && rank >= 1 && rank <= count(state);

  // A change that can be undone: the answer as it was is put on top of the past.
  const changed = (state, change) => ({
    ...state,
    ...change,
    past: [...state.past, { ranks: state.ranks, kind: state.kind }].slice(-KEPT_STEPS),
  });

  // Give a completion a rank, or take it away with null. Ranking one takes back "all bad" and the like.
  function setRank(state, letter, rank) {
    if (!(letter in state.ranks) || (rank !== null && !isRank(state, rank))) return state;
    if (state.ranks[letter] === rank && state.kind === "ranking") return state;
    return changed(state, { ranks: { ...state.ranks, [letter]: rank }, kind: "ranking" });
  }

  // Choose one of the answers that are no ranking; choosing it again takes it back.
  function choose(state, kind) {
    if (!KINDS.includes(kind)) return state;
    return changed(state, { kind: state.kind === kind ? "ranking" : kind });
  }

  function undo(state) {
    if (!state.past.length) return state;
    const before = state.past[state.past.length - 1];
    return { ...state, ranks: before.ranks, kind: before.kind, past: state.past.slice(0, -1) };
  }

  const moveTo = (state, index) => ({ ...state, cursor: (index + count(state)) % count(state) });
  const current = (state) => state.letters[state.cursor];

  // After a rank by key: the next completion without one, or stay where everything has its place.
  function advance(state) {
    for (let step = 1; step <= count(state); step += 1) {
      const index = (state.cursor + step) % count(state);
      if (!state.ranks[state.letters[index]]) return moveTo(state, index);
    }
    return state;
  }

  // One place up (step -1) or down (step 1); an unranked completion enters from the far end.
  function shift(state, letter, step) {
    const from = state.ranks[letter] || (step < 0 ? count(state) + 1 : 0);
    return setRank(state, letter, Math.min(count(state), Math.max(1, from + step)));
  }

  // Groups of letters from best to worst. Empty places close up: ranks 1, 1, 3 are two tiers.
  function tiers(state) {
    const used = [...new Set(Object.values(state.ranks).filter(Boolean))].sort((a, b) => a - b);
    return used.map((rank) => state.letters.filter((letter) => state.ranks[letter] === rank));
  }

  // What is sent: tiers only with a ranking.
  function answer(state) {
    return { kind: state.kind, tiers: state.kind === "ranking" ? tiers(state) : [] };
  }

  function tied(state, letter) {
    const rank = state.ranks[letter];
    return Boolean(rank) && state.letters.some((other) => other !== letter && state.ranks[other] === rank);
  }

  const encodeDraft = (state, submissionId, at) =>
    JSON.stringify({ version: 1, id: submissionId, at, kind: state.kind, ranks: state.ranks });

  // Whether a kept draft is older than `age` milliseconds, or nothing we can read: then it may go.
  function outdated(text, now, age) {
    try { return !(JSON.parse(text).at > now - age); } catch { return true; }
  }

  // The kept draft on a fresh state, and its submission id; whatever does not fit the task is left out.
  function decodeDraft(text, letters) {
    const state = create(letters);
    let draft = null;
    try { draft = JSON.parse(text); } catch { return { state, id: null }; }
    if (!draft || draft.version !== 1 || typeof draft.ranks !== "object" || !draft.ranks) return { state, id: null };
    for (const letter of letters) if (isRank(state, draft.ranks[letter])) state.ranks[letter] = draft.ranks[letter];
    if (KINDS.includes(draft.kind)) state.kind = draft.kind;
    const first = letters.findIndex((letter) => !state.ranks[letter]);
    state.cursor = first < 0 ? 0 : first;
    return { state, id: typeof draft.id === "string" && draft.id.length >= 8 ? draft.id : null };
  }

  // What a key means, as { act, … }, or null where it means nothing to us.
  function meaning(key, held, completions) {
    const lower = key.length === 1 ? key.toLowerCase() : key;
    if (held.ctrl || held.meta) {
      if (lower === "z" && !held.shift) return { act: "undo" };
      return key === "Enter" ? { act: "submit" } : null;
    }
    if (held.alt) return null;
    if (/^[1-9]$/.test(key)) return +key <= completions ? { act: "rank", rank: +key } : null;
    if (held.shift && /^[a-i]$/.test(lower)) {
      const index = lower.charCodeAt(0) - 97;
      return index < completions ? { act: "go", index } : null;
    }
    const plain = {
      0: { act: "clear" }, Backspace: { act: "clear" }, Delete: { act: "clear" },
      ArrowRight: { act: "move", step: 1 }, ArrowLeft: { act: "move", step: -1 },
      ArrowUp: { act: "shift", step: -1 }, ArrowDown: { act: "shift", step: 1 },
      b: { act: "choose", kind: "all_bad" }, j: { act: "choose", kind: "cannot_judge" }, s: { act: "choose", kind: "skip" },
      u: { act: "undo" }, Enter: { act: "submit" },
    };
    return Object.hasOwn(plain, lower) ? plain[lower] : null;
  }

  // The submit button in two parts; a narrow screen shows the first only.
  const submitLabel = (state) =>
    ({ ranking: ["Submit", " ranking"], all_bad: ["Submit", ": all bad"], cannot_judge: ["Submit", ": can't judge"], skip: ["Skip", " this task"] })[state.kind];

  function progressText(state) {
    const open = state.kind === "ranking" ? left(state) : 0;
    return open ? `${open} left to rank` : "Ready to submit";
  }

  // What stands around the criterion: one word makes a question, a lead's own phrase a heading.
  const question = (criterion) => (/^[a-z-]+$/i.test(criterion) ? ["Which answer is the most ", "?"] : ["Rank by: ", ""]);

  const savedText = (today, total) => `Saved ✓ (${today} today / ${total} in all)`;

  // "1:05", or "" where the figure is not known.
  function clock(seconds) {
    if (!Number.isFinite(seconds) || seconds < 0) return "";
    const whole = Math.round(seconds);
    return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  }

  // 128 random bits as a key; `source` is the page's crypto, which over plain http may lack randomUUID.
  function newId(source) {
    if (source && source.randomUUID) return source.randomUUID();
    const bytes = source && source.getRandomValues ? source.getRandomValues(new Uint8Array(16)) : null;
    const values = bytes ? [...bytes] : Array.from({ length: 16 }, () => Math.floor(Math.random() * 256));
    return values.map((value) => value.toString(16).padStart(2, "0")).join("");
  }

  return { ORDINALS, create, count, left, touched, ready, setRank, choose, undo, moveTo, current, advance, shift, tiers, answer,
    tied, encodeDraft, decodeDraft, outdated, meaning, submitLabel, progressText, question, savedText, clock, newId };
})();
