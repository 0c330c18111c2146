// Cases for ui/static/charts.js; tests/ui/test_lead_pages_browser.py runs them in Chromium. Each case throws to fail.
export const cases = (Charts) => {
  const equal = (found, expected) => {
    const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
    if (a !== b) throw new Error(`found ${a}, expected ${b}`);
  };
  const panel = (low = null, high = null, line = null) => ({ title: 't', series: [['loss', 'loss']], low, high, line });
  const inside = (value, [low, high]) => value >= low && value <= high;

  return {
    'a series leaves out rows without a finite value': () => {
      equal(Charts.series([{ step: 1, loss: 2 }, { step: 2 }, { step: 3, loss: null }, { step: 4, loss: 1 }], 'loss'), [[1, 2], [4, 1]]);
    },
    'what a resumed run says again takes the place of what it said before': () => {
      const rows = [[1, 5], [2, 4], [3, 9], [2, 3], [3, 2]].map(([step, loss]) => ({ step, loss }));
      equal(Charts.series(rows, 'loss'), [[1, 5], [2, 3], [3, 2]]);
    },
    'smoothing keeps a constant, starts at the first value and calms a jump': () => {
      equal(Charts.smoothed([[1, 2], [2, 2]], 0.9).map(([, v]) => Number(v.toFixed(9))), [2, 2]);
      equal(Charts.smoothed([[1, 0], [2, 1]], 0.5).map(([, v]) => Number(v.toFixed(4))), [0, 0.6667]);
      equal(Charts.smoothed([[1, 5], [2, 7]], 0), [[1, 5], [2, 7]]);
    },
    'metrics outside the panels get a panel each, counters and texts none': () => {
      const rows = [{ step: 1, time: 5, loss: 1, other: 2, episodes: 3, sample: 'text' }];
      const { known, extra } = Charts.filled(rows, [panel(), { title: 'u', series: [['absent', 'absent']] }]);
      equal([known.map((p) => p.title), extra.map((p) => p.title)], [['t'], ['other']]);
    },
    'where no panel has data, the other metrics are not hidden among the extra ones': () => {
      const { known, extra } = Charts.filled([{ step: 1, other: 2 }], [panel()]);
      equal([known.map((p) => p.title), extra], [['other'], []]);
    },
    'a metric with fewer values than asked for is no curve': () => {
      const rows = [{ step: 1, loss: 1, other: 1 }, { step: 2, loss: 2 }];
      const { known, extra } = Charts.filled(rows, [panel()], 2);
      equal([known.length, extra], [1, []]);
    },
    'thinning keeps every peak and stays under its limit': () => {
      const points = Array.from({ length: 5000 }, (_, i) => [i, i === 3333 ? 99 : i === 1234 ? -99 : Math.sin(i)]);
      const thinned = Charts.thin(points, 400);
      equal([thinned.length <= 402, thinned.some((p) => p[1] === 99), thinned.some((p) => p[1] === -99)], [true, true, true]);
      equal(thinned.every((p, i) => i === 0 || thinned[i - 1][0] < p[0]), true);
    },
    'few points are left alone': () => equal(Charts.thin([[1, 2], [2, 3]], 400), [[1, 2], [2, 3]]),
    'ticks are round and inside': () => {
      equal(Charts.ticks(0, 1, 4), [0, 0.5, 1]);
      equal(Charts.ticks(-0.13, 0.52, 4), [0, 0.2, 0.4]);
      equal(Charts.ticks(0, 80, 4), [0, 20, 40, 60, 80]);
      equal(Charts.ticks(3, 3, 4), [3]);
    },
    'a range holds the data with a margin': () => {
      const range = Charts.range([1, 3], panel());
      equal([range[0] < 1, range[1] > 3], [true, true]);
    },
    'a fixed end holds, and gives way to data beyond it': () => {
      equal(Charts.range([0.2, 0.9], panel(0, 1)), [0, 1]);
      equal(inside(-0.2, Charts.range([-0.2, 4], panel(0))), true);
    },
    'a line is always inside': () => equal(inside(0.5, Charts.range([0.7, 0.8], panel(null, null, 0.5))), true),
    'a constant series has room': () => {
      const [low, high] = Charts.range([2, 2], panel());
      equal(low < 2 && high > 2, true);
      const [, zero] = Charts.range([0], panel(0));
      equal(zero > 0, true);
    },
    'figures are short': () => {
      equal([0, 0.5, 12345, 1234567, 0.00001, -2.3456, NaN].map(Charts.number), ['0', '0.5', '12345', '1.2e+6', '1.0e-5', '-2.35', '–']);
    },
    'durations have two units': () => equal([8, 200, 7500, NaN].map(Charts.duration), ['8 s', '3 min 20 s', '2 h 5 min', '–']),
    'the nearest point is found': () => equal(Charts.nearest([[0, 5], [10, 6], [20, 7]], 13), [10, 6]),
  };
};
