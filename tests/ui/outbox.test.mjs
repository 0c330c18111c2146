// Cases for ui/static/outbox.js; tests/ui/test_sending_browser.py runs them in Chromium. Each case throws to fail.
export const cases = (Outbox) => {
  const equal = (found, expected) => {
    const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
    if (a !== b) throw new Error(`found ${a}, expected ${b}`);
  };
  const payload = (id, assignment = "a-" + id, tiers = [["A"], ["B"]]) => ({ submission_id: id, assignment, kind: "ranking", tiers, seconds: 1 });
  const put = (entries, id, now = 1000) => [...entries.filter((one) => one.id !== id), Outbox.entry("p", payload(id), entries, now)];
  const three = ["key-1", "key-2", "key-3"].reduce((entries, id) => put(entries, id, 5000 - entries.length), []);
  const ids = (entries) => entries.map((one) => one.id);
  const task = (assignment, seconds = 60, campaign_id = 1) => ({ assignment, expires: new Date(seconds * 1000).toISOString(), campaign_id, completions: [] });
  const stocked = (...tasks) => tasks.reduce((stock, one) => [...stock, Outbox.keep("p", one, stock, 0)], []);
  const rules = (more = {}) => ({ now: 0, campaign: null, answered: new Set(), ...more });
  const names = (stock) => stock.map((kept) => kept.task.assignment);
  const says = (status, reply, id = "key-1") => Outbox.verdict({ status, reply, words: "" }, id).is;

  return {
    "answers wait in the order they were given, whatever the clock says": () => equal(ids(Outbox.waiting([...three].reverse())), ["key-1", "key-2", "key-3"]),
    "the same submission again keeps its place and takes the new content": () => {
      const again = Outbox.entry("p", payload("key-1", "a-key-1", [["B"], ["A"]]), three, 9000);
      equal([again.order, again.stamp, again.payload.tiers, three[0].stamp], [three[0].order, 2, [["B"], ["A"]], 1]);
    },
    "an answer comes back from its text as it was, and only to its person": () => {
      const text = JSON.stringify(three[0]);
      equal([Outbox.decodeEntry(text, "p"), Outbox.decodeEntry(text, "q")], [three[0], null]);
    },
    "whatever is no answer of ours is left alone": () => {
      for (const text of [null, "", "{", "5", "[]", "{}", '{"version":2}', JSON.stringify({ ...three[0], id: "another" })]) equal(Outbox.decodeEntry(text, "p"), null);
    },
    "an answer that the server stumbles over lets the others pass at last": () => {
      let [stone, ...others] = three;
      for (let time = 0; time < 5; time += 1) { equal(Outbox.first([stone, ...others]).id, "key-1"); stone = Outbox.stumbled(stone, 500); }
      equal([Outbox.first([stone, ...others]).id, Outbox.first([stone]).id], ["key-2", "key-1"]);
    },
    "no connection, and a server that is away, is no stumbling": () => equal([0, 502, 503].map((status) => Outbox.stumbled(three[0], status).tries), [0, 0, 0]),
    "a refused answer is kept with its reason and not sent": () => {
      const all = [Outbox.refuse(three[0], "not yours"), three[1]];
      equal([ids(Outbox.waiting(all)), Outbox.refused(all).map((one) => one.reason), ids(Outbox.unseen(all))], [["key-2"], ["not yours"], ["key-1"]]);
      equal(Outbox.unseen([Outbox.refuse(three[0], "not yours", true)]), []);
    },
    "only refused answers grow old": () => {
      const late = 5000 + 31 * 24 * 3600e3;
      equal([Outbox.outdated(three[0], late), Outbox.outdated(Outbox.refuse(three[0], "no"), late), Outbox.outdated(Outbox.refuse(three[0], "no"), 6000)], [false, true, false]);
    },
    "saved means that the server named this submission": () => {
      equal([says(200, { state: "task", saved: "key-1" }), says(200, { state: "task", saved: "key-2" }), says(200, { state: "task" }), says(200, null)], ["saved", "trouble", "trouble", "trouble"]);
    },
    "words of RankLoop refuse, a page of a proxy does not": () => {
      equal([says(200, { state: "task", saved: null, notice: "closed" }), says(422, { error: "no" }), says(409, { detail: "no" })], ["refused", "refused", "refused"]);
      equal([says(422, null), says(409, {}), says(404, { detail: "Not Found" }), says(502, null), says(302, null), says(0, null)], Array(6).fill("trouble"));
    },
    "being signed out or barred says nothing about the answer": () => equal([says(401, null), says(403, { detail: "role" }), says(403, null)], ["signed_out", "forbidden", "trouble"]),
    "the connection is up when RankLoop itself speaks": () => {
      const kind = (status, reply) => Outbox.connection({ status, reply, words: "" })[0];
      equal([kind(200, { state: "task" }), kind(422, { error: "no" }), kind(200, null), kind(401, null), kind(403, { error: "no" }), kind(500, { error: "no" }), kind(0, null)], ["", "", "offline", "signed_out", "forbidden", "offline", "offline"]);
    },
    "tries come further apart, up to half a minute, and not in step": () => {
      equal([0, 1, 5, 99, Infinity].map((tries) => Outbox.delay(tries, 0.5)), [1000, 2000, 30000, 30000, 30000]);
      equal([Outbox.delay(0, 0) < 1000, Outbox.delay(0, 0.99) > 1000], [true, true]);
    },
    "kept tasks are offered oldest first, without the answered, the ended and other campaigns'": () => {
      const stock = stocked(task("t1"), task("t2"), task("t3", 10), task("t4", 60, 2));
      equal(Outbox.have(stock, rules()), ["t1", "t2", "t3", "t4"]);
      equal(Outbox.have(stock, rules({ now: 20000, campaign: 1, answered: new Set(["t1"]) })), ["t2"]);
      equal(names(Outbox.ended(stock, 20000)), ["t3"]);
    },
    "a wrong clock here neither ends nor prolongs a lease": () => {
      equal([Outbox.keep("p", task("t1", 3660), [], 3600e3).until, Outbox.keep("p", task("t1", 60), [], -3600e3).until], [60e3, 3660e3]);
    },
    "a task without an end lasts, also through its text": () => {
      const kept = Outbox.keep("p", { assignment: "t1", completions: [] }, [], 0), back = Outbox.decodeTask(JSON.stringify(kept), "p");
      equal([Outbox.over(back, 1e15), Outbox.stale(JSON.stringify(kept), 1e15), Outbox.decodeTask(JSON.stringify(kept), "q")], [false, false, null]);
    },
    "a kept task comes again with a new end and keeps its place": () => {
      const stock = stocked(task("t1"), task("t2")), again = Outbox.keep("p", task("t1", 90), stock, 0);
      equal([again.order, again.until, Outbox.renewed(stock[1], task("x", 120).expires, 0).until], [stock[0].order, 90e3, 120e3]);
    },
    "texts that are no tasks are stale": () => equal([null, "", "{", "{}", '{"until":1,"task":{}}'].map((text) => Outbox.stale(text, 5)), Array(5).fill(true)),
    "what a reply did not name goes first when there is too much": () => {
      const stock = stocked(task("t1"), task("t2"), task("t3"), task("t4"));
      equal([names(Outbox.surplus(stock, ["t3", "t4"])), names(Outbox.surplus(stock.slice(1), ["t4"]))], [["t1"], []]);
    },
    "the dock says how many answers wait, where, and why": () => {
      const told = (more) => Outbox.told({ queued: 0, stopped: "", why: "", kept: true, reason: "", ...more });
      equal(told({}).state, "saved");
      equal(told({ queued: 1 }), { state: "saving", text: "Saving…" });
      equal(told({ queued: 2, stopped: "offline", why: "the server does not answer" }), { state: "offline", text: "The server does not answer: 2 answers are kept in this browser and sent by themselves later." });
      equal(told({ queued: 1, stopped: "signed_out", why: "you are signed out" }).text, "You are signed out: 1 answer is kept in this browser. Sign in and sending goes on.");
      equal(told({ queued: 1, stopped: "offline", why: "no", kept: false }).text.includes("only in this window"), true);
      equal(told({ stopped: "offline", why: "the server does not answer" }).text, "The server does not answer.");
      equal(told({ reason: "not yours" }), { state: "refused", text: "Not stored: not yours" });
    },
  };
};
