// Cases for ui/static/ranking.js; tests/ui/test_board_browser.py runs them in Chromium. Each case throws to fail.
export const cases = (Ranking) => {
  const equal = (found, expected) => {
    const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
    if (a !== b) throw new Error(`found ${a}, expected ${b}`);
  };
  const fresh = (k = 4) => Ranking.create([..."ABCDEFGHI"].slice(0, k));
  const ranked = (ranks, k = ranks.length) =>
    ranks.reduce((state, rank, i) => (rank ? Ranking.setRank(state, "ABCDEFGHI"[i], rank) : state), fresh(k));
  const free = { ctrl: false, meta: false, alt: false, shift: false };
  const key = (name, held = {}, k = 4) => Ranking.meaning(name, { ...free, ...held }, k);

  return {
    "nothing is preset and nothing can be sent": () => {
      equal([Ranking.left(fresh()), Ranking.ready(fresh()), Ranking.tiers(fresh())], [4, false, []]);
    },
    "every K from 2 to 9 is ready only when all have a rank": () => {
      for (let k = 2; k <= 9; k += 1) {
        equal(Ranking.ready(ranked(Array(k - 1).fill(1), k)), false);
        equal(Ranking.ready(ranked(Array(k).fill(1), k)), true);
      }
    },
    "empty places close up and ties share a tier": () => {
      equal(Ranking.tiers(ranked([3, 1, 4, 1])), [["B", "D"], ["A"], ["C"]]);
    },
    "a rank outside the places, or for a stranger, changes nothing": () => {
      const state = fresh();
      for (const [letter, rank] of [["A", 5], ["A", 0], ["A", 1.5], ["Z", 1], ["A", "1"]]) equal(Ranking.setRank(state, letter, rank) === state, true);
    },
    "a function never changes the state it was given": () => {
      const state = fresh();
      Ranking.setRank(state, "A", 1); Ranking.choose(state, "all_bad"); Ranking.moveTo(state, 2);
      equal(state, fresh());
    },
    "undo gives back rank by rank, then nothing": () => {
      let state = Ranking.setRank(ranked([2, 1]), "A", 1);
      state = Ranking.undo(state); equal(state.ranks, { A: 2, B: 1 });
      state = Ranking.undo(Ranking.undo(state)); equal(state.ranks, { A: null, B: null });
      equal(Ranking.undo(state) === state, true);
    },
    "all bad needs no ranks, and choosing it again takes it back": () => {
      const chosen = Ranking.choose(fresh(), "all_bad");
      equal([Ranking.ready(chosen), Ranking.answer(chosen)], [true, { kind: "all_bad", tiers: [] }]);
      equal(Ranking.choose(chosen, "all_bad").kind, "ranking");
    },
    "ranking a completion takes back can't judge, and undo restores it": () => {
      const state = Ranking.setRank(Ranking.choose(fresh(2), "cannot_judge"), "A", 1);
      equal([state.kind, Ranking.undo(state).kind], ["ranking", "cannot_judge"]);
    },
    "an unknown kind changes nothing": () => equal(Ranking.choose(fresh(), "maybe").kind, "ranking"),
    "arrows move a rank by one and stop at the ends": () => {
      const up = Ranking.shift(fresh(), "A", -1), down = Ranking.shift(fresh(), "A", 1);
      equal([up.ranks.A, down.ranks.A], [4, 1]);
      equal([Ranking.shift(up, "A", 1).ranks.A, Ranking.shift(down, "A", -1).ranks.A], [4, 1]);
    },
    "the cursor goes round, and advances to what is open": () => {
      equal([Ranking.moveTo(fresh(), -1).cursor, Ranking.moveTo(fresh(), 4).cursor], [3, 0]);
      equal(Ranking.advance(ranked([1, 1, null, null])).cursor, 2);
      equal(Ranking.advance({ ...ranked([1, null, 1, 1]), cursor: 3 }).cursor, 1);
      equal(Ranking.advance({ ...ranked([1, 1]), cursor: 1 }).cursor, 1);
    },
    "a draft comes back as it was": () => {
      const { state, id } = Ranking.decodeDraft(Ranking.encodeDraft(ranked([2, null, 1]), "key-12345678", 5), ["A", "B", "C"]);
      equal([state.ranks, state.cursor, id], [{ A: 2, B: null, C: 1 }, 1, "key-12345678"]);
    },
    "a draft that does not fit is left out": () => {
      for (const text of [null, "", "{", "[]", "5", '{"version":2}', '{"version":1,"ranks":null}', '{"version":1,"ranks":{"A":7,"Z":1}}']) {
        equal(Ranking.decodeDraft(text, ["A", "B"]), { state: fresh(2), id: null });
      }
    },
    "old and unreadable drafts are outdated": () => {
      const text = Ranking.encodeDraft(fresh(), "key-12345678", 1000);
      equal([Ranking.outdated(text, 1500, 600), Ranking.outdated(text, 1700, 600), Ranking.outdated("{", 0, 600)], [false, true, true]);
    },
    "number keys rank, but not beyond the places": () => {
      equal([key("1"), key("4"), key("5"), key("9", {}, 9)], [{ act: "rank", rank: 1 }, { act: "rank", rank: 4 }, null, { act: "rank", rank: 9 }]);
    },
    "keys mean what the hints say": () => {
      equal(["ArrowRight", "ArrowUp", "0", "u", "b", "j", "s", "Enter"].map((name) => key(name).act), ["move", "shift", "clear", "undo", "choose", "choose", "choose", "submit"]);
      equal([key("j").kind, key("z", { ctrl: true }), key("Enter", { meta: true }), key("C", { shift: true })], ["cannot_judge", { act: "undo" }, { act: "submit" }, { act: "go", index: 2 }]);
    },
    "the browser keeps its own keys": () => {
      equal([key("1", { ctrl: true }), key("r", { ctrl: true }), key("ArrowLeft", { alt: true }), key("x"), key("Tab"), key("constructor")], [null, null, null, null, null, null]);
    },
    "a key for submitting is long and not repeated, with or without the page's crypto": () => {
      const sources = [globalThis.crypto, { getRandomValues: (bytes) => globalThis.crypto.getRandomValues(bytes) }, null];
      const made = sources.flatMap((source) => [Ranking.newId(source), Ranking.newId(source)]);
      equal([new Set(made).size, made.every((id) => id.length >= 32 && id.length <= 64)], [6, true]);
    },
    "times are read in minutes": () => equal([Ranking.clock(65), Ranking.clock(0), Ranking.clock(null), Ranking.clock(-1)], ["1:05", "0:00", "", ""]),
  };
};
