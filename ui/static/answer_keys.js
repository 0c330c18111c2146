// What keys mean on the board and the words around an answer. Pure: a key and a situation give { act, … } or null.
// The list in `groups` is what the help overlay shows, so that it always fits the form at hand.
const Keys = (() => {
  const FIXED = {
    Backspace: { act: "clear" }, Delete: { act: "clear" }, ArrowRight: { act: "move", step: 1 }, ArrowLeft: { act: "move", step: -1 },
    ArrowUp: { act: "up" }, ArrowDown: { act: "down" }, Enter: { act: "submit" }, "?": { act: "help" },
    b: { act: "choose", kind: "all_bad" }, j: { act: "choose", kind: "cannot_judge" }, s: { act: "choose", kind: "skip" },
    u: { act: "undo" }, c: { act: "fold" }, x: { act: "fold_all" }, v: { act: "uncover" }, d: { act: "differences" }, i: { act: "guidelines" },
    p: { act: "pause" }, "[": { act: "size", step: -1 }, "]": { act: "size", step: 1 },
  };

  // `here`: { form, completions: K, scale: the scale whose row is current or null, scales: how many, flags, why, edit: what the task offers }
  function meaning(key, held, here) {
    const lower = key.length === 1 ? key.toLowerCase() : key;
    if (held.ctrl || held.meta) {
      if (lower === "z" && !held.shift) return { act: "undo" };
      return key === "Enter" ? { act: "submit" } : null;
    }
    if (held.alt) return null;
    if (/^[0-9=]$/.test(key) && !(key === "=" && here.form === "thumbs" && !here.scale)) return digit(key, here);
    if (held.shift && /^[a-i]$/.test(lower)) {
      const index = lower.charCodeAt(0) - 97;
      return index < here.completions ? { act: "go", index } : null;
    }
    const ours = formKey(lower, here) || besideKey(lower, here);
    return ours || (Object.hasOwn(FIXED, lower) ? FIXED[lower] : null);
  }

  function digit(key, { form, completions, scale }) {
    if (scale) {
      const value = key === "=" ? scale.high : key === "0" && scale.low > 0 && scale.high === 10 ? 10 : Number(key);
      return value >= scale.low && value <= scale.high ? { act: "rate", value } : key === "0" ? { act: "clear" } : null;
    }
    if (key === "0") return { act: "clear" };
    if (form === "ranking") return +key <= completions ? { act: "rank", rank: +key } : null;
    return form === "pairwise" && +key <= 7 ? { act: "choice", choice: +key } : null;
  }

  function formKey(lower, { form, scale, scales }) {
    if (lower === "r" && scales && form !== "ratings") return { act: "rows" };
    if (form === "pairwise" && lower === "g") return { act: "choice", choice: "good" };
    if (form === "pairwise" && !scale && lower === "ArrowLeft") return { act: "nudge", step: -1 };
    if (form === "pairwise" && !scale && lower === "ArrowRight") return { act: "nudge", step: 1 };
    if (form === "thumbs" && (lower === "+" || lower === "=")) return { act: "thumb", thumb: 1 };
    return form === "thumbs" && (lower === "-" || lower === "_") ? { act: "thumb", thumb: -1 } : null;
  }

  function besideKey(lower, { flags, why, edit }) {
    if (lower === "f" && flags) return { act: "flag" };
    if (lower === "w" && why) return { act: "why" };
    return lower === "e" && edit ? { act: "edit" } : null;
  }

  // ---------------------------------------------------------------- the help's lines: [title, [[keys, meaning], …]]
  function groups({ form, completions, scale, scales, flags, why, edit, guided }) {
    const last = "ABCDEFGHI"[completions - 1], card = [[["Shift"], ["A"], "–", [last]], "go to that completion"];
    const answer = {
      ranking: [[[["1"], "–", [String(completions)]], "rank the current completion; the same number is a tie"], [[["↑"], ["↓"]], "move its rank"], [[["0"]], "take its rank away"], [[["←"], ["→"]], "previous, next completion"]],
      pairwise: [[[["1"], ["2"], ["3"]], "A is significantly better, better, slightly better"], [[["4"]], "about equal"], [[["5"], ["6"], ["7"]], "B is slightly better, better, significantly better"], [[["←"], ["→"]], "a step towards A, towards B"], [[["G"]], "both good"]],
      ratings: [],
      thumbs: [[[["+"]], "thumb up"], [[["−"]], "thumb down"], [[["↑"], ["↓"]], "thumb up, thumb down"], [[["←"], ["→"]], "previous, next completion"]],
    }[form];
    const one = scale || (scales && scales[0]) || null;
    const rating = one ? [
      [[[String(one.low)], "–", [one.high === 10 ? (one.low === 0 ? "=" : "0") : String(one.high)]], "rate on the marked scale" + (one.high === 10 ? ` (${one.low === 0 ? "= is 10" : "0 is 10"})` : "")],
      [[["↑"], ["↓"]], "previous, next scale"], ...(form === "ratings" ? [[[["←"], ["→"]], "previous, next completion"]] : [[[["R"]], "from the answer to the scales, and back"]]), [[["Backspace"]], "take the rating away"]] : [];
    const other = [[[["B"]], form === "pairwise" ? "both bad" : "all bad: none is worth it"], [[["J"]], "can't judge"], [[["S"]], "skip: leave the task to others"], [[["U"]], "undo; on an untouched task, back to the last answer"], [[["Enter"]], "submit"]];
    const beside = [...(flags ? [[[["F"]], "flag the current completion"]] : []), ...(why ? [[[["W"]], "say why"]] : []), ...(edit ? [[[["E"]], "edit the best answer"]] : [])];
    const reading = [card, ...(guided ? [[[["I"]], "guidelines and examples"]] : []), [[["D"]], "word differences between two completions"], [[["C"]], "fold the current completion"], [[["X"]], "fold all, unfold all"], [[["V"]], "open a covered completion"], [[["["], ["]"]], "smaller, larger text"], [[["P"]], "pause"], [[["?"]], "this help"], [[["Esc"]], "close what is open"]];
    return [["Answer", [...answer, ...(form === "ratings" ? rating : [])]], ...(rating.length && form !== "ratings" ? [["Rate", rating]] : []), ["Instead, and then", other], ...(beside.length ? [["Beside it", beside]] : []), ["Read", reading]];
  }

  return { meaning, groups };
})();

// The words around an answer.
const Words = (() => {
  const ORDINALS = ["", "1st", "2nd", "3rd", "4th", "5th", "6th", "7th", "8th", "9th"];
  const STEPS = ["", "significantly better", "better", "slightly better", "about equal", "slightly better", "better", "significantly better"];
  const SENT = { ranking: " ranking", pairwise: " choice", ratings: " ratings", thumbs: " thumbs" };

  // The submit button in two parts; a narrow screen shows the first only.
  function submitLabel(state, revising = false) {
    if (revising) return ["Save", " the change"];
    const bad = state.form === "pairwise" ? ": both bad" : ": all bad";
    return { all_bad: ["Submit", bad], cannot_judge: ["Submit", ": can't judge"], skip: ["Skip", " this task"] }[state.kind] || ["Submit", SENT[state.form]];
  }

  // "A is slightly better", "About equal", "Both are good", "" where nothing is chosen.
  function choice(state) {
    if (state.choice === null) return "";
    if (state.choice === "good") return "Both are good";
    if (state.choice === 4) return "About equal";
    return `${state.letters[state.choice < 4 ? 0 : 1]} is ${STEPS[state.choice]}`;
  }

  // What an answer says, in one line: "B > A = C", "A ↑ B ↓", "A 4.5, B 2".
  function said(kind, tiers, detail = {}) {
    const fixed = { all_bad: "All bad", cannot_judge: "Can't judge", skip: "Skipped" }[kind];
    if (fixed) return fixed;
    if (kind === "thumbs") return Object.entries(detail.thumbs || {}).map(([letter, thumb]) => `${letter} ${thumb > 0 ? "up" : "down"}`).join(", ");
    if (kind === "ratings") return Object.entries(detail.ratings || {}).map(([letter, rated]) => `${letter} ${Object.values(rated).join("/")}`).join(", ");
    return tiers.map((tier) => tier.join(" = ")).join(" > ");
  }

  // What stands around the criterion: one word makes a question, a lead's own phrase a heading.
  const question = (criterion) => (/^[a-z-]+$/i.test(criterion) ? ["Which answer is the most ", "?"] : ["Judge by: ", ""]);

  const saved = (today, total) => `Saved ✓ (${today} today / ${total} in all)`;

  // "1:05", or "" where the figure is not known.
  function clock(seconds) {
    if (!Number.isFinite(seconds) || seconds < 0) return "";
    const whole = Math.floor(seconds);
    const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
    return `${hours ? hours + ":" + String(minutes).padStart(2, "0") : minutes}:${String(whole % 60).padStart(2, "0")}`;
  }

  return { ORDINALS, STEPS, submitLabel, choice, said, question, saved, clock };
})();
