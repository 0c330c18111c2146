/* What a chart thinks: picking, thinning and scaling of series. Touches no document; tests call it alone. */
const Charts = (() => {
  const hidden = new Set(['step', 'time', 'sample', 'episodes', 'epoch', 'elapsed', 'remaining', 'optimizer_steps']);

  /* rows [{step, name: number, …}] -> [[step, value], …], finite values only; a run that was resumed says the steps
     since its last checkpoint again: the later telling holds */
  const series = (rows, name) => rows.reduce((points, row) => {
    if (!Number.isFinite(row[name])) return points;
    while (points.length && points[points.length - 1][0] >= row.step) points.pop();
    points.push([row.step, row[name]]);
    return points;
  }, []);

  /* an exponential moving average of the values, started unbiased; weight 0 changes nothing */
  const smoothed = (points, weight) => {
    let sum = 0, mass = 0;
    return points.map(([step, value]) => {
      sum = weight * sum + (1 - weight) * value;
      mass = weight * mass + (1 - weight);
      return [step, sum / mass];
    });
  };

  /* the panels that have data, and as extra one for each numeric metric that no panel names; these alone come first.
     A metric counts from `least` values on */
  const filled = (rows, panels, least = 1) => {
    const counts = new Map();
    for (const row of rows) for (const [key, value] of Object.entries(row)) if (Number.isFinite(value)) counts.set(key, (counts.get(key) ?? 0) + 1);
    const present = new Set([...counts.keys()].filter((key) => counts.get(key) >= least));
    const named = new Set(panels.flatMap((panel) => panel.series.map(([name]) => name)));
    const known = panels.filter((panel) => panel.series.some(([name]) => present.has(name)));
    const others = [...present].filter((key) => !named.has(key) && !hidden.has(key)).sort();
    const extra = others.map((key) => ({ title: key, series: [[key, key]], unit: '' }));
    return known.length ? { known, extra } : { known: extra, extra: [] };
  };

  /* at most about `limit` points: the lowest and the highest of each stretch stay, so peaks are seen */
  const thin = (points, limit) => {
    if (points.length <= limit) return points;
    const size = Math.ceil(points.length / (limit / 2));
    const kept = [];
    for (let start = 0; start < points.length; start += size) {
      const part = points.slice(start, start + size);
      const low = part.reduce((a, b) => (b[1] < a[1] ? b : a));
      const high = part.reduce((a, b) => (b[1] > a[1] ? b : a));
      kept.push(...(low === high ? [low] : low[0] < high[0] ? [low, high] : [high, low]));
    }
    return kept;
  };

  /* round tick values inside [low, high] */
  const ticks = (low, high, count) => {
    const raw = (high - low) / Math.max(1, count);
    if (!(raw > 0)) return [low];
    const unit = 10 ** Math.floor(Math.log10(raw));
    const step = unit * [1, 2, 5, 10].find((factor) => factor * unit >= raw * 0.999);
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k += 1) found.push(Number((k * step).toPrecision(12)));
    return found;
  };

  /* the value range to show: the data with a margin, and the panel's line; a fixed end gives way to data beyond it */
  const range = (values, panel) => {
    const all = panel.line === null || panel.line === undefined ? values : [...values, panel.line];
    const [least, most] = [Math.min(...all), Math.max(...all)];
    const fixed = { low: panel.low !== null && panel.low !== undefined && panel.low <= least, high: panel.high !== null && panel.high !== undefined && panel.high >= most };
    let low = fixed.low ? panel.low : least;
    let high = fixed.high ? panel.high : most;
    if (high - low < 1e-12) { const pad = Math.abs(high) * 0.1 || 1; low -= fixed.low ? 0 : pad; high += fixed.high ? 0 : pad; }
    const margin = (high - low) * 0.06;
    return [fixed.low ? low : low - margin, fixed.high ? high : high + margin];
  };

  const number = (value) => {
    if (!Number.isFinite(value)) return '–';
    const size = Math.abs(value);
    if (value === 0) return '0';
    if (size >= 1e5 || size < 1e-3) return value.toExponential(1);
    if (size >= 1000) return String(Math.round(value));
    return String(Number(value.toPrecision(3)));
  };

  const duration = (seconds) => {
    if (!Number.isFinite(seconds)) return '–';
    const whole = Math.max(0, Math.round(seconds));
    if (whole < 60) return `${whole} s`;
    if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
    return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  };

  /* the point whose step is nearest */
  const nearest = (points, step) => points.reduce((best, p) => (!best || Math.abs(p[0] - step) < Math.abs(best[0] - step) ? p : best), null);

  return { series, smoothed, filled, thin, ticks, range, number, duration, nearest };
})();
