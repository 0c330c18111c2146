// The part of the board that thinks: one answer in the making, in any form. Pure functions; nothing here touches
// the page, the clock or the network. Every change takes a state and gives a new one, which undo can take back:
//   { form, own, letters, scales, ranks: {A: 1|null}, choice: null|1..7|"good", ratings: {A: {scale: 4}},
//     thumbs: {A: 1|-1|null}, flags: {A: [..]}, notes: {A: ".."}, reasons: [..], rationale, edited: "A"|null, edit,
//     kind: own | "all_bad" | "cannot_judge" | "skip", cursor: index of the current card,
//     row: -1 for the form's own row, else the index of a scale, past: earlier answers, newest last }
// answer_sent.js says what is missing and what is sent; tests/ui/answer.test.mjs checks both alone.
const Answer = (() => {
  const OWN_KIND = { ranking: "ranking", pairwise: "ranking", ratings: "ratings", thumbs: "thumbs" };
  const OTHER_KINDS = ["all_bad", "cannot_judge", "skip"];
  const PARTS = ["kind", "ranks", "choice", "ratings", "thumbs", "flags", "notes", "reasons", "rationale", "edited", "edit"];
  const UNDONE = ["kind", "ranks", "choice", "ratings", "thumbs", "flags", "reasons"]; // texts have the browser's own undo
  const STEPS = 7, MIDDLE = 4, KEPT_STEPS = 100;

  const pick = (state, names) => Object.fromEntries(names.map((name) => [name, state[name]]));
  const per = (letters, value) => Object.fromEntries(letters.map((letter) => [letter, value(letter)]));

  // A task as the server gives it; fields that an older server leaves out have their defaults.
  function create(task) {
    const letters = task.completions.map((completion) => completion.letter), scales = task.scales || [];
    const form = task.form in OWN_KIND ? task.form : "ranking";
    return {
      form, own: OWN_KIND[form], letters, scales, kind: OWN_KIND[form],
      ranks: per(letters, () => null), choice: null, ratings: per(letters, () => ({})), thumbs: per(letters, () => null),
      flags: per(letters, () => []), notes: per(letters, () => ""), reasons: [], rationale: "", edited: null, edit: "",
      cursor: 0, row: form === "ratings" ? 0 : -1, past: [],
    };
  }

  const count = (state) => state.letters.length;
  const current = (state) => state.letters[state.cursor];
  const firstRow = (state) => (state.form === "ratings" ? 0 : -1);
  const answered = (state) => state.kind !== state.own;
  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
  const touched = (state, fresh) => !same(pick(state, PARTS), pick(fresh, PARTS));

  // A change that can be undone; one that changes nothing gives the very same state.
  function changed(state, change) {
    const next = { ...state, ...change };
    if (same(pick(state, UNDONE), pick(next, UNDONE))) return state;
    return { ...next, past: [...state.past, pick(state, UNDONE)].slice(-KEPT_STEPS) };
  }

  function undo(state) {
    if (!state.past.length) return state;
    return { ...state, ...state.past[state.past.length - 1], past: state.past.slice(0, -1) };
  }

  // ---------------------------------------------------------------- the four forms; each answer takes back "all bad"
  const isRank = (state, rank) => Number.isInteger(rank) && rank >= 1 && rank <= count(state);

  function setRank(state, letter, rank) {
    if (!(letter in state.ranks) || (rank !== null && !isRank(state, rank))) return state;
    return changed(state, { ranks: { ...state.ranks, [letter]: rank }, kind: state.own });
  }

  // One place up (step -1) or down (step 1); an unranked completion enters from the far end.
  function shift(state, letter, step) {
    const from = state.ranks[letter] || (step < 0 ? count(state) + 1 : 0);
    return setRank(state, letter, Math.min(count(state), Math.max(1, from + step)));
  }

  function tied(state, letter) {
    const rank = state.ranks[letter];
    return Boolean(rank) && state.letters.some((other) => other !== letter && state.ranks[other] === rank);
  }

  const isChoice = (choice) => choice === "good" || (Number.isInteger(choice) && choice >= 1 && choice <= STEPS);

  // 1 = the first is significantly better … 4 = about equal … 7 = the second is; "good" = both are good; null = open.
  function setChoice(state, choice) {
    if (state.form !== "pairwise" || (choice !== null && !isChoice(choice))) return state;
    return changed(state, { choice, kind: state.own });
  }

  // One step towards the first (-1) or the second (1); from nothing, or from "both good", it starts beside the middle.
  function nudge(state, step) {
    const from = Number.isInteger(state.choice) ? state.choice : MIDDLE;
    return setChoice(state, Math.min(STEPS, Math.max(1, from + step)));
  }

  function setRating(state, letter, row, value) {
    const scale = state.scales[row];
    if (!scale || !(letter in state.ratings)) return state;
    if (value !== null && (!Number.isInteger(value) || value < scale.low || value > scale.high)) return state;
    const { [scale.name]: _before, ...rest } = state.ratings[letter];
    const rated = value === null ? rest : Object.fromEntries(state.scales.flatMap(({ name }) =>
      name === scale.name ? [[name, value]] : name in rest ? [[name, rest[name]]] : []));
    return changed(state, { ratings: { ...state.ratings, [letter]: rated }, kind: state.own });
  }

  function setThumb(state, letter, thumb) {
    if (state.form !== "thumbs" || !(letter in state.thumbs) || ![1, -1, null].includes(thumb)) return state;
    return changed(state, { thumbs: { ...state.thumbs, [letter]: thumb }, kind: state.own });
  }

  // ---------------------------------------------------------------- beside the form
  const toggled = (list, one, order) => (list.includes(one) ? list.filter((other) => other !== one) : order.filter((other) => other === one || list.includes(other)));
  const toggleFlag = (state, letter, flag, offered) =>
    letter in state.flags ? changed(state, { flags: { ...state.flags, [letter]: toggled(state.flags[letter], flag, offered) } }) : state;
  const toggleReason = (state, reason, offered) => changed(state, { reasons: toggled(state.reasons, reason, offered) });
  const setNote = (state, letter, note) => ({ ...state, notes: { ...state.notes, [letter]: note } });
  const setRationale = (state, rationale) => ({ ...state, rationale });
  const setEdit = (state, edited, edit) => ({ ...state, edited, edit });

  // Choose one of the answers that say nothing about the order; choosing it again takes it back.
  const choose = (state, kind) => (OTHER_KINDS.includes(kind) ? changed(state, { kind: state.kind === kind ? state.own : kind }) : state);

  // ---------------------------------------------------------------- moving
  const moveTo = (state, index) => ({ ...state, cursor: (index + count(state)) % count(state) });
  const toRow = (state, row) => ({ ...state, row: Math.min(state.scales.length - 1, Math.max(firstRow(state), row)) });
  const placed = (state, letter) =>
    ({ ranking: Boolean(state.ranks[letter]), pairwise: state.choice !== null, ratings: true, thumbs: state.thumbs[letter] !== null })[state.form];
  const openRows = (state, letter) => state.scales.flatMap((scale, row) => (scale.name in state.ratings[letter] ? [] : [row]));

  // One row down (1) or up (-1), going on into the next or previous card.
  function moveRow(state, step) {
    const row = state.row + step;
    if (row >= firstRow(state) && row < state.scales.length) return { ...state, row };
    return { ...moveTo(state, state.cursor + step), row: step > 0 ? firstRow(state) : state.scales.length - 1 };
  }

  // After an answer by key: the next thing that is open, or stay where nothing is. First the form's own row of every
  // completion, then the scales card by card.
  function advance(state) {
    const round = state.letters.map((_, step) => (state.cursor + step) % count(state));
    if (state.row < 0) {
      const open = [...round.slice(1), round[0]].find((index) => !placed(state, state.letters[index]));
      if (open !== undefined) return moveTo(state, open);
      const unrated = state.letters.findIndex((letter) => openRows(state, letter).length);
      return unrated < 0 ? state : { ...moveTo(state, unrated), row: openRows(state, state.letters[unrated])[0] };
    }
    for (const index of round) {
      const rows = openRows(state, state.letters[index]);
      const next = index === state.cursor ? rows.find((row) => row > state.row) ?? rows[0] : rows[0];
      if (next !== undefined) return { ...moveTo(state, index), row: next };
    }
    return state;
  }

  // The completion to make a demonstration of: the one being edited, else the best one (the current one among
  // equals), else the current one.
  function best(state) {
    if (state.edited) return state.edited;
    const worth = per(state.letters, (letter) => {
      if (state.form === "pairwise") return typeof state.choice === "number" ? (letter === state.letters[0] ? MIDDLE - state.choice : state.choice - MIDDLE) : 0;
      if (state.form === "thumbs") return state.thumbs[letter] || 0;
      if (state.form === "ratings") return openRows(state, letter).length ? -1 : mean(state, letter);
      return state.ranks[letter] ? -state.ranks[letter] : -99;
    });
    const top = Math.max(...Object.values(worth));
    return worth[current(state)] === top ? current(state) : state.letters.find((letter) => worth[letter] === top);
  }

  // The overall scale where there is one, else the mean of all, of a completion that is rated on all scales.
  function mean(state, letter) {
    const values = state.ratings[letter], overall = state.scales.find((scale) => scale.overall);
    if (overall) return values[overall.name];
    return state.scales.reduce((sum, scale) => sum + values[scale.name], 0) / state.scales.length;
  }

  return { PARTS, OTHER_KINDS, STEPS, MIDDLE, create, count, current, firstRow, answered, touched, undo, isRank, isChoice, setRank, shift, tied, setChoice,
    nudge, setRating, setThumb, toggleFlag, toggleReason, setNote, setRationale, setEdit, choose, moveTo, toRow, moveRow, placed, openRows, advance, best, mean };
})();
