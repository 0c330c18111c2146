// Word differences between two texts (Myers 1986, "An O(ND) difference algorithm"), in the order they are read. Pure.
// Where two texts share too little for words to say anything, sentences are compared instead; where even they do not
// meet, one whole text stands against the other. Long texts so cost a bounded time.
const Differences = (() => {
  const MOST_EDITS = 1500; // steps of the search: at most about 10 MB and 50 ms
  const WORDS = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]|[\p{L}\p{M}\p{N}_]+(?:['’][\p{L}\p{M}]+)*|\s+|[^\s]/gu;
  const SENTENCES = /[^.!?\n]*[.!?\n]+\s*|[^.!?\n]+$/g;
  const isWord = (token) => /[\p{L}\p{N}]/u.test(token);

  const cut = (text, pattern) => text.match(pattern) || [];

  // The furthest x on each diagonal k = x - y before every round d, as slices from -d-1 to d+1; null above `most` rounds.
  function search(before, after, most) {
    const n = before.length, m = after.length, rounds = Math.min(n + m, most), zero = rounds + 1;
    const furthest = new Int32Array(2 * zero + 1), trace = [];
    for (let d = 0; d <= rounds; d += 1) {
      trace.push(furthest.slice(zero - d - 1, zero + d + 2));
      for (let k = -d; k <= d; k += 2) {
        const down = k === -d || (k !== d && furthest[zero + k - 1] < furthest[zero + k + 1]);
        let x = down ? furthest[zero + k + 1] : furthest[zero + k - 1] + 1;
        while (x < n && x - k < m && before[x] === after[x - k]) x += 1;
        furthest[zero + k] = x;
        if (x >= n && x - k >= m) return trace;
      }
    }
    return null;
  }

  // The shortest way from one list of tokens to the other, as [kind, token]; null where it takes more than `most` edits.
  function script(before, after, most) {
    const trace = search(before, after, most), steps = [];
    if (!trace) return null;
    let x = before.length, y = after.length;
    for (let d = trace.length - 1; d >= 0; d -= 1) {
      const reach = (k) => trace[d][k + d + 1], k = x - y;
      const down = k === -d || (k !== d && reach(k - 1) < reach(k + 1));
      const fromX = reach(down ? k + 1 : k - 1), fromY = fromX - (down ? k + 1 : k - 1);
      while (x > fromX && y > fromY && x > 0 && y > 0) { x -= 1; y -= 1; steps.push(["same", before[x]]); }
      if (d > 0) steps.push(down ? ["added", after[fromY]] : ["removed", before[fromX]]);
      [x, y] = [fromX, fromY];
    }
    return steps.reverse();
  }

  // Steps without what both ends share, which costs nothing to find.
  function compare(before, after, most) {
    let head = 0, tail = 0;
    while (head < before.length && head < after.length && before[head] === after[head]) head += 1;
    while (tail < before.length - head && tail < after.length - head && before[before.length - 1 - tail] === after[after.length - 1 - tail]) tail += 1;
    const middle = script(before.slice(head, before.length - tail), after.slice(head, after.length - tail), most);
    if (!middle) return null;
    const same = (tokens) => tokens.map((token) => ["same", token]);
    return [...same(before.slice(0, head)), ...middle, ...same(before.slice(before.length - tail))];
  }

  const words = (text) => cut(text, WORDS).filter(isWord).length;

  // Steps as stretches: { same } or { removed, added }. A lone space or mark between two changes belongs to the change.
  function stretches(steps) {
    const all = [];
    for (const [kind, token] of steps) {
      const last = all[all.length - 1];
      if (kind === "same" && last && "same" in last) last.same += token;
      else if (kind === "same") all.push({ same: token });
      else if (last && "removed" in last) last[kind] += token;
      else all.push({ removed: "", added: "", [kind]: token });
    }
    return all;
  }

  // A few words that two long changes happen to share say nothing: they are taken as changed, too.
  const ISLAND = 2, SEA = 6;
  function smoothed(all) {
    const size = (one) => (one && "removed" in one ? words(one.removed) + words(one.added) : 0), kept = [];
    all.forEach((one, index) => {
      const last = kept[kept.length - 1], next = all[index + 1];
      if (last && "same" in one && "removed" in last && next && !one.same.includes("\n")) {
        const shared = words(one.same);
        if (shared === 0 || (shared <= ISLAND && size(last) + size(next) >= SEA * shared && Math.min(size(last), size(next)) > 1)) {
          last.removed += one.same; last.added += one.same;
          return;
        }
      }
      if (last && "removed" in one && "removed" in last) { last.removed += one.removed; last.added += one.added; } else kept.push({ ...one });
    });
    return kept;
  }

  // Stretches as parts: within a change first all that went, then all that came.
  function joined(steps) {
    const parts = smoothed(stretches(steps)).flatMap((one) => ("same" in one ? [["same", one.same]] : [["removed", one.removed], ["added", one.added]]));
    return parts.filter(([, text]) => text).map(([kind, text]) => ({ kind, text }));
  }

  // { parts: [{ kind: "same"|"removed"|"added", text }] in reading order, removed, added, same: words, coarse: whether
  // sentences or whole texts were compared }. The texts without "added" give `before`, those without "removed" `after`.
  function between(before, after, most = MOST_EDITS) {
    const fine = compare(cut(before, WORDS), cut(after, WORDS), most);
    const rough = fine ? null : compare(cut(before, SENTENCES), cut(after, SENTENCES), most);
    const whole = [...(before ? [{ kind: "removed", text: before }] : []), ...(after ? [{ kind: "added", text: after }] : [])];
    const parts = fine ? joined(fine) : rough ? joined(rough) : whole;
    const total = (kind) => parts.reduce((sum, part) => sum + (part.kind === kind ? words(part.text) : 0), 0);
    return { parts, removed: total("removed"), added: total("added"), same: total("same"), coarse: !fine };
  }

  return { between };
})();
