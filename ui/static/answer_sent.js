// What an answer still lacks, what of it is sent, and how it is kept as a draft and read back. Pure, after answer.js.
const Sent = (() => {
  const VERSION = 2;
  const text = (value) => (typeof value === "string" ? value : "");
  const plural = (number, one, many = one + "s") => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

  // ---------------------------------------------------------------- what is missing
  // The first thing of each sort that is open: { what: words, index: card or null, row, at: "form"|"flag"|"why" }.
  function missing(state, task) {
    const found = [], own = state.kind === state.own;
    if (own) found.push(...missingInForm(state), ...missingRatings(state));
    if (state.kind === "skip") return found;
    for (const [index, letter] of state.letters.entries()) {
      if (state.flags[letter].includes("other") && !state.notes[letter].trim()) found.push({ what: `Say what is wrong with ${letter}`, index, row: state.row, at: "flag" });
    }
    if (own || state.kind === "all_bad") found.push(...missingRationale(state, task));
    return found;
  }

  function missingInForm(state) {
    const open = state.letters.flatMap((letter, index) => (Answer.placed(state, letter) ? [] : [index]));
    if (!open.length) return [];
    const what = { ranking: `${open.length} left to rank`, pairwise: "Say which is better", thumbs: `${open.length} left to judge` }[state.form];
    return [{ what, index: state.form === "pairwise" ? null : open[0], row: -1, at: "form" }];
  }

  function missingRatings(state) {
    const open = state.letters.flatMap((letter, index) => Answer.openRows(state, letter).map((row) => [index, row]));
    if (!open.length) return [];
    return [{ what: `${plural(open.length, "rating")} to give`, index: open[0][0], row: open[0][1], at: "form" }];
  }

  // Characters that the rationale still needs; 0 where it is long enough, or need not be there.
  function rationaleShort(state, task) {
    const length = state.rationale.trim().length, shortest = task.rationale_min || 0;
    if ((task.rationale || "off") === "off") return 0;
    if (task.rationale === "optional") return length ? Math.max(0, shortest - length) : 0;
    if (!length && !shortest && state.reasons.length) return 0;
    return Math.max(0, Math.max(1, shortest) - length);
  }

  function missingRationale(state, task) {
    const short = rationaleShort(state, task);
    if (!short) return [];
    const what = state.rationale.trim() ? `${plural(short, "more character")} of reason` : (task.reasons || []).length && !task.rationale_min ? "Give a reason" : "Say why";
    return [{ what, index: null, row: state.row, at: "why" }];
  }

  const ready = (state, task) => missing(state, task).length === 0;

  // ---------------------------------------------------------------- what is sent
  // Groups of letters from best to worst. Empty places close up: ranks 1, 1, 3 are two tiers.
  function tiers(state) {
    if (state.form === "pairwise") {
      const [first, second] = state.letters, step = state.choice === "good" ? Answer.MIDDLE : state.choice;
      if (step === null) return [];
      return step === Answer.MIDDLE ? [[first, second]] : step < Answer.MIDDLE ? [[first], [second]] : [[second], [first]];
    }
    const used = [...new Set(Object.values(state.ranks).filter(Boolean))].sort((a, b) => a - b);
    return used.map((rank) => state.letters.filter((letter) => state.ranks[letter] === rank));
  }

  const ranked = (state) => state.kind === "ranking";
  const filled = (parts) => Object.fromEntries(Object.entries(parts).filter(([, value]) =>
    value !== null && value !== undefined && value !== "" && value !== false && !(typeof value === "object" && Object.keys(value).length === 0)));

  // Parts that are empty are left out. `texts`: the completions as they are, so that an edit that changes nothing is none.
  function detail(state, texts = {}) {
    if (state.kind === "skip") return {};
    const own = state.kind === state.own, edit = state.edited && state.edit.trim() && state.edit !== texts[state.edited] ? state.edit : "";
    const flags = filled(state.flags), other = (letter) => (flags[letter] || []).includes("other");
    return filled({
      grade: own && state.form === "pairwise" && state.choice !== null ? (state.choice === "good" ? 0 : Math.abs(state.choice - Answer.MIDDLE)) : null,
      both_good: own && state.choice === "good",
      ratings: filled(state.ratings),
      thumbs: own && state.form === "thumbs" ? filled(state.thumbs) : {},
      flags,
      flag_notes: filled(Object.fromEntries(state.letters.filter(other).map((letter) => [letter, state.notes[letter].trim()]))),
      reasons: state.reasons,
      rationale: state.rationale.trim(),
      edited: edit ? state.edited : null,
      edit,
    });
  }

  const answer = (state, texts) => ({ kind: state.kind, tiers: ranked(state) ? tiers(state) : [], detail: detail(state, texts) });

  // ---------------------------------------------------------------- reading back
  // The parts of an earlier answer on a fresh state of the task; whatever does not fit is left out.
  function restore(task, parts) {
    let state = Answer.create(task);
    const offered = { flags: task.flags || [], reasons: task.reasons || [] }, given = (name) => (parts[name] && typeof parts[name] === "object" ? parts[name] : {});
    for (const letter of state.letters) {
      if (Answer.isRank(state, given("ranks")[letter])) state.ranks[letter] = given("ranks")[letter];
      if ([1, -1].includes(given("thumbs")[letter])) state.thumbs[letter] = given("thumbs")[letter];
      for (const [row, scale] of state.scales.entries()) state = Answer.setRating(state, letter, row, (given("ratings")[letter] || {})[scale.name] ?? null);
      const flags = given("flags")[letter];
      if (Array.isArray(flags)) state.flags[letter] = offered.flags.filter((flag) => flags.includes(flag));
      state.notes[letter] = text(given("notes")[letter]);
    }
    if (Answer.isChoice(parts.choice)) state.choice = parts.choice;
    if (Array.isArray(parts.reasons)) state.reasons = offered.reasons.filter((reason) => parts.reasons.includes(reason));
    state.rationale = text(parts.rationale);
    if (state.letters.includes(parts.edited)) { state.edited = parts.edited; state.edit = text(parts.edit); }
    if (Answer.OTHER_KINDS.includes(parts.kind)) state.kind = parts.kind;
    return atFirstOpen({ ...state, past: [] });
  }

  function atFirstOpen(state) {
    const open = state.letters.findIndex((letter) => !Answer.placed(state, letter));
    if (open >= 0) return { ...state, cursor: open };
    const unrated = state.letters.findIndex((letter) => Answer.openRows(state, letter).length);
    const begun = state.form === "ratings" || Object.values(state.ranks).some(Boolean) || state.choice !== null;
    return unrated >= 0 && begun ? { ...state, cursor: unrated, row: Answer.openRows(state, state.letters[unrated])[0] } : state;
  }

  // What the server says was answered ({ kind, tiers, detail }), as the parts of a state.
  function parts(task, given) {
    const kept = given.detail || {}, tiers = given.tiers || [], first = task.completions[0].letter;
    const ranks = Object.fromEntries(tiers.flatMap((tier, index) => tier.map((letter) => [letter, index + 1])));
    const choice = kept.both_good ? "good" : tiers.length === 1 ? Answer.MIDDLE : tiers.length ? Answer.MIDDLE + (tiers[0][0] === first ? -1 : 1) * (kept.grade || 1) : null;
    return { ...kept, kind: given.kind, ranks: task.form === "pairwise" ? {} : ranks, choice: task.form === "pairwise" ? choice : null, notes: kept.flag_notes };
  }

  // ---------------------------------------------------------------- drafts
  // A text's mark, so that a draft finds its completions again under other letters (FNV-1a, 32 bits, and the length).
  function mark(words) {
    let hash = 0x811c9dc5;
    for (let i = 0; i < words.length; i += 1) hash = Math.imul(hash ^ words.charCodeAt(i), 0x01000193);
    return (hash >>> 0).toString(36) + "." + words.length;
  }
  const wordsOf = (completion) => completion.text ?? completion.html ?? "";
  const promptMark = (task) => mark((task.prompt || []).map((turn) => turn.html).join("|"));
  const marks = (task) => Object.fromEntries(task.completions.map((completion) => [completion.letter, mark(wordsOf(completion))]));

  function encodeDraft(state, task, submissionId, at, person = "") {
    const kept = Object.fromEntries(Answer.PARTS.map((name) => [name, state[name]]));
    return JSON.stringify({ version: VERSION, person, id: submissionId, at, form: state.form, prompt: promptMark(task), marks: marks(task), answer: kept });
  }

  // Whether a kept draft is older than `age` milliseconds, or nothing we can read: then it may go.
  function outdated(draft, now, age) {
    try { return !(JSON.parse(draft).at > now - age); } catch { return true; }
  }

  // The kept draft on a fresh state, and its submission id (null where nothing was kept).
  function decodeDraft(draft, task) {
    const kept = read(draft), nothing = { state: Answer.create(task), id: null };
    if (!kept || (kept.form || "ranking") !== nothing.state.form) return nothing;
    return { state: restore(task, kept.answer), id: text(kept.id).length >= 8 ? kept.id : null };
  }

  // The same for a draft of the same person and texts in another order (a task handed back and claimed again); null if
  // it is none.
  function adoptDraft(draft, task, person = "") {
    const kept = read(draft), here = marks(task);
    if (!kept || !kept.marks || kept.person !== person || kept.prompt !== promptMark(task) || (kept.form || "ranking") !== Answer.create(task).form) return null;
    const letters = renaming(kept.marks, here);
    if (!letters) return null;
    const moved = (values) => Object.fromEntries(Object.entries(values || {}).map(([letter, value]) => [letters[letter], value]));
    const { ranks, ratings, thumbs, flags, notes, edited, choice } = kept.answer;
    const mirrored = Number.isInteger(choice) && letters.A !== "A" ? 2 * Answer.MIDDLE - choice : choice;
    return restore(task, { ...kept.answer, choice: mirrored, ranks: moved(ranks), ratings: moved(ratings), thumbs: moved(thumbs), flags: moved(flags), notes: moved(notes), edited: letters[edited] || null });
  }

  // Old letter -> new letter where both sets hold the same texts; null where they do not.
  function renaming(before, after) {
    const free = Object.entries(after), names = {};
    if (Object.keys(before).length !== free.length) return null;
    for (const [letter, one] of Object.entries(before)) {
      const at = free.findIndex(([, other]) => other === one);
      if (at < 0) return null;
      names[letter] = free.splice(at, 1)[0][0];
    }
    return names;
  }

  // A draft's content, or null. Version 1 held a ranking only: { kind, ranks }.
  function read(draft) {
    let kept = null;
    try { kept = JSON.parse(draft); } catch { return null; }
    if (!kept || typeof kept !== "object") return null;
    if (kept.version === 1 && kept.ranks && typeof kept.ranks === "object") return { id: kept.id, form: "ranking", answer: { kind: kept.kind, ranks: kept.ranks } };
    return kept.version === VERSION && kept.answer && typeof kept.answer === "object" ? kept : null;
  }

  // 128 random bits as a key; `source` is the page's crypto, which over plain http may lack randomUUID.
  function newId(source) {
    if (source && source.randomUUID) return source.randomUUID();
    const bytes = source && source.getRandomValues ? source.getRandomValues(new Uint8Array(16)) : null;
    const values = bytes ? [...bytes] : Array.from({ length: 16 }, () => Math.floor(Math.random() * 256));
    return values.map((value) => value.toString(16).padStart(2, "0")).join("");
  }

  return { missing, ready, rationaleShort, tiers, detail, answer, restore, parts, encodeDraft, decodeDraft, adoptDraft, outdated, newId, plural };
})();
