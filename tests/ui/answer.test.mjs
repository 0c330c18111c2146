// Cases for the parts of the board that think (answer.js, answer_sent.js, answer_keys.js, differences.js);
// tests/ui/test_board_browser.py runs them in Chromium. Each case throws to fail.
export const cases = ({ Answer, Sent, Keys, Words, Differences }) => {
  const equal = (found, expected) => {
    const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
    if (a !== b) throw new Error(`found ${a}, expected ${b}`);
  };
  const SCALES = [{ name: "helpful", low: 1, high: 5 }, { name: "honest", low: 0, high: 10 }];
  const asked = (form = "ranking", k = 4, more = {}) => ({
    form, scales: form === "ratings" ? SCALES : [], flags: ["unsafe", "other"], reasons: ["clear", "true"], rationale: "off", rationale_min: 0, edit: true,
    prompt: [{ role: "user", html: "why?" }], completions: [..."ABCDEFGHI"].slice(0, k).map((letter) => ({ letter, text: `text of ${letter}` })), ...more,
  });
  const fresh = (k = 4) => Answer.create(asked("ranking", k));
  const ranked = (ranks, k = ranks.length) => ranks.reduce((state, rank, i) => (rank ? Answer.setRank(state, "ABCDEFGHI"[i], rank) : state), fresh(k));
  const pair = (choice) => Answer.setChoice(Answer.create(asked("pairwise", 2)), choice);
  const rated = (values, task = asked("ratings", 2)) => Object.entries(values).reduce((state, [letter, list]) => list.reduce((now, value, row) => Answer.setRating(now, letter, row, value), state), Answer.create(task));
  const free = { ctrl: false, meta: false, alt: false, shift: false };
  const key = (name, held = {}, here = {}) => Keys.meaning(name, { ...free, ...held }, { form: "ranking", completions: 4, scale: null, scales: null, flags: true, why: true, edit: true, ...here });
  const open = (state, task = asked(state.form, Answer.count(state))) => Sent.missing(state, task).map((one) => one.what);
  const diff = (a, b, most) => Differences.between(a, b, most);
  const sides = (found) => [found.parts.filter((p) => p.kind !== "added").map((p) => p.text).join(""), found.parts.filter((p) => p.kind !== "removed").map((p) => p.text).join("")];

  return {
    // ---------------------------------------------------------------- rankings
    "nothing is preset in any form and nothing can be sent": () => {
      for (const form of ["ranking", "pairwise", "ratings", "thumbs"]) equal(Sent.ready(Answer.create(asked(form, 2)), asked(form, 2)), false);
      equal([open(fresh()), Sent.tiers(fresh())], [["4 left to rank"], []]);
    },
    "every K from 2 to 9 is ready only when all have a rank": () => {
      for (let k = 2; k <= 9; k += 1) equal([open(ranked(Array(k - 1).fill(1), k)).length, open(ranked(Array(k).fill(1), k)).length], [1, 0]);
    },
    "empty places close up and ties share a tier": () => equal(Sent.tiers(ranked([3, 1, 4, 1])), [["B", "D"], ["A"], ["C"]]),
    "a rank outside the places, or for a stranger, changes nothing": () => {
      const state = fresh();
      for (const [letter, rank] of [["A", 5], ["A", 0], ["A", 1.5], ["Z", 1], ["A", "1"]]) equal(Answer.setRank(state, letter, rank) === state, true);
    },
    "a function never changes the state it was given": () => {
      const state = fresh();
      Answer.setRank(state, "A", 1); Answer.choose(state, "all_bad"); Answer.moveTo(state, 2); Answer.toggleFlag(state, "A", "unsafe", ["unsafe"]); Answer.setNote(state, "A", "x");
      equal(state, fresh());
    },
    "undo gives back step by step, then nothing": () => {
      let state = Answer.setRank(ranked([2, 1]), "A", 1);
      state = Answer.undo(state); equal(state.ranks, { A: 2, B: 1 });
      state = Answer.undo(Answer.undo(state)); equal(state.ranks, { A: null, B: null });
      equal(Answer.undo(state) === state, true);
    },
    "undo leaves typed words alone and takes flags back": () => {
      const state = Answer.setRationale(Answer.toggleFlag(fresh(), "B", "unsafe", ["unsafe"]), "because");
      equal([Answer.undo(state).flags.B, Answer.undo(state).rationale], [[], "because"]);
    },
    "all bad needs no ranks, and choosing it again takes it back": () => {
      const chosen = Answer.choose(fresh(), "all_bad");
      equal([open(chosen), Sent.answer(chosen)], [[], { kind: "all_bad", tiers: [], detail: {} }]);
      equal(Answer.choose(chosen, "all_bad").kind, "ranking");
    },
    "ranking a completion takes back can't judge, and undo restores it": () => {
      const state = Answer.setRank(Answer.choose(fresh(2), "cannot_judge"), "A", 1);
      equal([state.kind, Answer.undo(state).kind], ["ranking", "cannot_judge"]);
    },
    "an unknown kind changes nothing": () => equal(Answer.choose(fresh(), "maybe").kind, "ranking"),
    "arrows move a rank by one and stop at the ends": () => {
      const up = Answer.shift(fresh(), "A", -1), down = Answer.shift(fresh(), "A", 1);
      equal([up.ranks.A, down.ranks.A], [4, 1]);
      equal([Answer.shift(up, "A", 1).ranks.A, Answer.shift(down, "A", -1).ranks.A], [4, 1]);
    },
    "the cursor goes round, and advances to what is open": () => {
      equal([Answer.moveTo(fresh(), -1).cursor, Answer.moveTo(fresh(), 4).cursor], [3, 0]);
      equal(Answer.advance(ranked([1, 1, null, null])).cursor, 2);
      equal(Answer.advance({ ...ranked([1, null, 1, 1]), cursor: 3 }).cursor, 1);
      equal(Answer.advance({ ...ranked([1, 1]), cursor: 1 }).cursor, 1);
    },
    "a ranking beside scales goes on to the scales when all have a rank": () => {
      const task = asked("ranking", 2, { scales: SCALES });
      let state = Answer.setRank(Answer.setRank(Answer.create(task), "A", 1), "B", 2);
      state = Answer.advance({ ...state, cursor: 1 });
      equal([state.cursor, state.row, open(state, task)], [0, 0, ["4 ratings to give"]]);
    },
    // ---------------------------------------------------------------- the other forms
    "seven steps send the winner and the margin": () => {
      const sent = [1, 2, 3, 4, 5, 6, 7].map((step) => Sent.answer(pair(step)));
      equal(sent.map((one) => one.tiers), [[["A"], ["B"]], [["A"], ["B"]], [["A"], ["B"]], [["A", "B"]], [["B"], ["A"]], [["B"], ["A"]], [["B"], ["A"]]]);
      equal(sent.map((one) => one.detail.grade), [3, 2, 1, 0, 1, 2, 3]);
    },
    "both good is an equal pair that says so, both bad is all bad": () => {
      equal(Sent.answer(pair("good")), { kind: "ranking", tiers: [["A", "B"]], detail: { grade: 0, both_good: true } });
      equal(Sent.answer(Answer.choose(pair(2), "all_bad")), { kind: "all_bad", tiers: [], detail: {} });
    },
    "a nudge starts beside the middle and stops at the ends": () => {
      const state = Answer.create(asked("pairwise", 2));
      equal([Answer.nudge(state, -1).choice, Answer.nudge(state, 1).choice, Answer.nudge(pair(7), 1).choice, Answer.nudge(pair(1), -1).choice], [3, 5, 7, 1]);
    },
    "ratings are complete when each scale of each completion has a value": () => {
      equal(open(rated({ A: [4, 0] })), ["2 ratings to give"]);
      equal(Sent.answer(rated({ A: [4, 0], B: [1, 10] })), { kind: "ratings", tiers: [], detail: { ratings: { A: { helpful: 4, honest: 0 }, B: { helpful: 1, honest: 10 } } } });
    },
    "a rating outside its scale changes nothing, null takes it away": () => {
      const state = rated({ A: [4] });
      for (const value of [0, 6, 2.5, "3"]) equal(Answer.setRating(state, "A", 0, value) === state, true);
      equal(Answer.setRating(state, "A", 0, null).ratings.A, {});
    },
    "after a rating the next open scale is current, card by card": () => {
      const first = Answer.advance(rated({ A: [4] })), second = Answer.advance({ ...rated({ A: [4, 5] }), row: 1 });
      equal([[first.cursor, first.row], [second.cursor, second.row]], [[0, 1], [1, 0]]);
    },
    "rows go on into the next card and back": () => {
      const down = Answer.moveRow({ ...rated({}), row: 1 }, 1), up = Answer.moveRow(rated({}), -1);
      equal([[down.cursor, down.row], [up.cursor, up.row]], [[1, 0], [1, 1]]);
    },
    "thumbs need one for each completion": () => {
      const task = asked("thumbs", 2), one = Answer.setThumb(Answer.create(task), "A", 1), both = Answer.setThumb(one, "B", -1);
      equal([open(one), open(both), Sent.answer(both)], [["1 left to judge"], [], { kind: "thumbs", tiers: [], detail: { thumbs: { A: 1, B: -1 } } }]);
    },
    // ---------------------------------------------------------------- beside the form
    "flags are sent in the campaign's order, and other needs words": () => {
      const task = asked("ranking", 2), state = Answer.toggleFlag(Answer.toggleFlag(ranked([1, 2]), "A", "other", task.flags), "A", "unsafe", task.flags);
      equal(open(state, task), ["Say what is wrong with A"]);
      equal(Sent.detail(Answer.setNote(state, "A", " rude ")), { flags: { A: ["unsafe", "other"] }, flag_notes: { A: "rude" } });
    },
    "a required reason counts characters without the white space around them": () => {
      const task = asked("ranking", 2, { rationale: "required", rationale_min: 5 }), says = (words) => open(Answer.setRationale(ranked([1, 2]), words), task);
      equal([says(""), says("  abc  "), says("abcde")], [["Say why"], ["2 more characters of reason"], []]);
    },
    "an optional reason may be left out but not be too short; a chip alone is one where no length is asked": () => {
      const task = asked("ranking", 2, { rationale: "optional", rationale_min: 5 }), required = asked("ranking", 2, { rationale: "required" });
      equal([open(ranked([1, 2]), task), open(Answer.setRationale(ranked([1, 2]), "abcd"), task)], [[], ["1 more character of reason"]]);
      equal([open(ranked([1, 2]), required), open(Answer.toggleReason(ranked([1, 2]), "true", required.reasons), required)], [["Give a reason"], []]);
    },
    "skipping and can't judge need no reason, all bad does": () => {
      const task = asked("ranking", 2, { rationale: "required", rationale_min: 5 });
      equal(["skip", "cannot_judge", "all_bad"].map((kind) => open(Answer.choose(fresh(2), kind), task).length), [0, 0, 1]);
    },
    "an edit that changes nothing is none": () => {
      const state = Answer.setEdit(ranked([1, 2]), "A", "text of A"), texts = { A: "text of A", B: "text of B" };
      equal([Sent.detail(state, texts), Sent.detail(Answer.setEdit(state, "A", "better"), texts)], [{}, { edited: "A", edit: "better" }]);
    },
    "the best completion is the one to edit, the current one among equals": () => {
      equal([Answer.best(ranked([2, 1, 3])), Answer.best({ ...ranked([1, 2, 1]), cursor: 2 }), Answer.best(pair(6)), Answer.best({ ...fresh(), cursor: 1 })], ["B", "C", "B", "B"]);
    },
    // ---------------------------------------------------------------- drafts and revisions
    "a draft comes back with everything in it": () => {
      const task = asked("ranking", 3, { scales: SCALES });
      let state = Answer.setRank(Answer.setRank(Answer.create(task), "A", 2), "C", 1);
      state = Answer.setEdit(Answer.setRationale(Answer.toggleReason(Answer.setNote(Answer.toggleFlag(Answer.setRating(state, "B", 1, 7), "B", "other", task.flags), "B", "hm"), "true", task.reasons), "so"), "C", "new");
      const { state: back, id } = Sent.decodeDraft(Sent.encodeDraft(state, task, "key-12345678", 5), task);
      for (const part of Answer.PARTS) equal(back[part], state[part]);
      equal([back.cursor, id], [1, "key-12345678"]);
    },
    "a draft that does not fit is left out": () => {
      const task = asked("ranking", 2);
      for (const text of [null, "", "{", "[]", "5", '{"version":9}', '{"version":2,"answer":null}', '{"version":2,"form":"thumbs","answer":{}}', '{"version":1,"ranks":{"A":7,"Z":1}}',
        '{"version":2,"answer":{"ranks":{"A":"1"},"ratings":[],"flags":{"A":"unsafe"},"reasons":"true","edited":"Q","kind":"maybe","choice":9,"rationale":7}}']) {
        equal(Sent.decodeDraft(text, task).state, Answer.create(task));
      }
    },
    "a draft of the first version is read": () => equal(Sent.decodeDraft('{"version":1,"id":"key-12345678","kind":"ranking","ranks":{"A":2,"B":1}}', asked("ranking", 2)).state.ranks, { A: 2, B: 1 }),
    "a draft finds its texts again under other letters": () => {
      const before = asked("ranking", 3), after = { ...before, completions: ["B", "C", "A"].map((old, i) => ({ letter: "ABC"[i], text: `text of ${old}` })) };
      const draft = Sent.encodeDraft(Answer.toggleFlag(ranked([1, 2, 3]), "A", "unsafe", before.flags), before, "key-12345678", 5, "ann"), found = Sent.adoptDraft(draft, after, "ann");
      equal([found.ranks, found.flags.C], [{ A: 2, B: 3, C: 1 }, ["unsafe"]]);
      equal([Sent.adoptDraft(draft, asked("ranking", 2), "ann"), Sent.adoptDraft(draft, { ...after, prompt: [{ role: "user", html: "other" }] }, "ann"), Sent.adoptDraft(draft, after, "bob")], [null, null, null]);
    },
    "a pair found again the other way round keeps its winner": () => {
      const before = asked("pairwise", 2), after = { ...before, completions: [{ letter: "A", text: "text of B" }, { letter: "B", text: "text of A" }] };
      equal(Sent.adoptDraft(Sent.encodeDraft(pair(2), before, "key-12345678", 5), after).choice, 6);
    },
    "old and unreadable drafts are outdated": () => {
      const text = Sent.encodeDraft(fresh(), asked(), "key-12345678", 1000);
      equal([Sent.outdated(text, 1500, 600), Sent.outdated(text, 1700, 600), Sent.outdated("{", 0, 600)], [false, true, true]);
    },
    "what was sent comes back for revision as it was": () => {
      for (const state of [ranked([2, 1, 2]), pair(1), pair(5), pair("good"), pair(4), rated({ A: [4, 0], B: [1, 10] }), Answer.choose(fresh(2), "all_bad")]) {
        const task = asked(state.form, Answer.count(state)), sent = Sent.answer(state);
        equal(Sent.answer(Sent.restore(task, Sent.parts(task, sent))), sent);
      }
    },
    "a key for submitting is long and not repeated, with or without the page's crypto": () => {
      const sources = [globalThis.crypto, { getRandomValues: (bytes) => globalThis.crypto.getRandomValues(bytes) }, null];
      const made = sources.flatMap((source) => [Sent.newId(source), Sent.newId(source)]);
      equal([new Set(made).size, made.every((id) => id.length >= 32 && id.length <= 64)], [6, true]);
    },
    // ---------------------------------------------------------------- keys and words
    "number keys rank, but not beyond the places": () => {
      equal([key("1"), key("4"), key("5"), key("9", {}, { completions: 9 })], [{ act: "rank", rank: 1 }, { act: "rank", rank: 4 }, null, { act: "rank", rank: 9 }]);
    },
    "number keys compare a pair, and rate on the current scale": () => {
      equal([key("7", {}, { form: "pairwise", completions: 2 }), key("8", {}, { form: "pairwise", completions: 2 })], [{ act: "choice", choice: 7 }, null]);
      equal(["1", "6", "0"].map((name) => key(name, {}, { form: "ratings", scale: SCALES[0] })), [{ act: "rate", value: 1 }, null, { act: "clear" }]);
      equal(["0", "="].map((name) => key(name, {}, { form: "ratings", scale: SCALES[1] })), [{ act: "rate", value: 0 }, { act: "rate", value: 10 }]);
      equal(key("0", {}, { form: "ratings", scale: { name: "x", low: 1, high: 10 } }), { act: "rate", value: 10 });
    },
    "plus and minus are thumbs, G is both good, and only there": () => {
      equal(["+", "=", "-"].map((name) => key(name, {}, { form: "thumbs" })), [{ act: "thumb", thumb: 1 }, { act: "thumb", thumb: 1 }, { act: "thumb", thumb: -1 }]);
      equal([key("g", {}, { form: "pairwise" }), key("g"), key("+")], [{ act: "choice", choice: "good" }, null, null]);
    },
    "keys mean what the help says": () => {
      const names = ["ArrowRight", "ArrowUp", "0", "u", "b", "j", "s", "Enter", "?", "i", "d", "c", "x", "v", "p", "[", "f", "w", "e"];
      equal(names.map((name) => key(name).act), ["move", "up", "clear", "undo", "choose", "choose", "choose", "submit", "help", "guidelines", "differences", "fold", "fold_all", "uncover", "pause", "size", "flag", "why", "edit"]);
      equal([key("j").kind, key("z", { ctrl: true }), key("Enter", { meta: true }), key("C", { shift: true })], ["cannot_judge", { act: "undo" }, { act: "submit" }, { act: "go", index: 2 }]);
    },
    "what a campaign does not ask for has no key": () => equal(["f", "w", "e"].map((name) => key(name, {}, { flags: false, why: false, edit: false })), [null, null, null]),
    "the browser keeps its own keys": () => {
      equal([key("1", { ctrl: true }), key("r", { ctrl: true }), key("ArrowLeft", { alt: true }), key("y"), key("Tab"), key("constructor")], [null, null, null, null, null, null]);
    },
    "the help names a key for everything in every form": () => {
      for (const form of ["ranking", "pairwise", "ratings", "thumbs"]) {
        const groups = Keys.groups({ form, completions: 4, scale: null, scales: form === "ratings" ? SCALES : null, flags: true, why: true, edit: true, guided: true });
        equal(groups.every(([, lines]) => lines.length > 0 && lines.every(([keys, meaning]) => keys.length && meaning)), true);
      }
    },
    "an answer in words": () => {
      equal([Words.choice(pair(2)), Words.choice(pair("good")), Words.choice(pair(4)), Words.choice(pair(null))], ["A is better", "Both are good", "About equal", ""]);
      equal([Words.said("ranking", [["B"], ["A", "C"]]), Words.said("all_bad", []), Words.said("thumbs", [], { thumbs: { A: 1, B: -1 } })], ["B > A = C", "All bad", "A up, B down"]);
    },
    "times are read in minutes and hours": () => equal([Words.clock(65.9), Words.clock(0), Words.clock(3723), Words.clock(null), Words.clock(-1)], ["1:05", "0:00", "1:02:03", "", ""]),
    // ---------------------------------------------------------------- word differences
    "changed words are marked, the rest is not": () => {
      equal(diff("The quick fox ran.", "The slow fox ran.").parts, [{ kind: "same", text: "The " }, { kind: "removed", text: "quick" }, { kind: "added", text: "slow" }, { kind: "same", text: " fox ran." }]);
      equal([diff("a b", "a b").parts, diff("", "").parts, diff("", "new").added], [[{ kind: "same", text: "a b" }], [], 1]);
    },
    "both texts can be read back from any difference": () => {
      let seed = 7;
      const next = (n) => { seed = (seed * 16807) % 2147483647; return seed % n; };
      const text = () => Array.from({ length: next(40) }, () => ["one ", "two ", "l'eau", " ", "\n", ".", "好", "é"][next(8)]).join("");
      for (let round = 0; round < 400; round += 1) { const [a, b] = [text(), text()]; equal(sides(diff(a, b)), [a, b]); }
    },
    "neighbouring changes are one change, not word by word": () => equal(diff("alpha beta gamma", "delta epsilon gamma").parts.map((p) => p.kind), ["removed", "added", "same"]),
    "a word that two long changes happen to share is part of the change": () => {
      const found = diff("cats chase small mice at the barn by night", "dogs eat large bones at a house with joy");
      equal(found.parts.map((p) => p.kind), ["removed", "added"]);
      equal(diff("the cat sat", "the dog sat").parts.map((p) => p.kind), ["same", "removed", "added", "same"]);
    },
    "words without spaces between them are compared sign by sign": () => equal(diff("月が海を引く", "月が水を引く").parts[1], { kind: "removed", text: "海" }),
    "texts that share too little are compared by sentences, then whole": () => {
      const a = "Same here. " + "x1 x2 x3 x4 x5 x6. ".repeat(3), b = "Same here. " + "y1 y2 y3 y4 y5 y6. ".repeat(3), found = diff(a, b, 10);
      equal([found.coarse, found.parts[0], sides(found)], [true, { kind: "same", text: "Same here. " }, [a, b]]);
      equal(diff("a. b. c. d.", "e. f. g. h.", 2).parts.map((p) => p.kind), ["removed", "added"]);
    },
    "a long text takes a bounded time": () => {
      const long = (step) => Array.from({ length: 20000 }, (_, i) => "w" + ((i * step) % 997)).join(" "), start = performance.now();
      const found = diff(long(7), long(11));
      equal([found.coarse, performance.now() - start < 3000], [true, true]);
    },
  };
};
