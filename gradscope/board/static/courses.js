// A course: mean, lowest, highest and what is not finite by columns; how it is drawn as a line, and told in words.
(function (g) {
  'use strict';

  // A course whose line runs over the columns in which nothing was measured: a straight line up to the next that was.
  // `held`: and beyond the last one a thin line at its number.
  function measuredOnly(course) {
    const kept = [];
    for (let i = 0; i < course.mean.length; i++)
      if (Number.isFinite(course.mean[i]) || course.not_finite[i]) kept.push(i);
    return {...course, kept, held: true};
  }

  // "steps 100–107 · 8 rows"
  function columnTitle(edges, rows, i) {
    const first = edges[i],
      last = edges[i + 1] - 1;
    if (rows[i] <= 1) return `step ${g.count(first)}`;
    return `${g.span(first, last)} · ${g.plural(rows[i], 'row')}`;
  }

  // The lines of a tooltip on one column of a course.
  function courseLines(what, course, i, rows) {
    const lines = [];
    if (!course) return lines;
    if (rows > 1 && Number.isFinite(course.mean[i])) {
      lines.push(
        [`${what}, mean`, g.show(course.mean[i])],
        ['lowest', g.show(course.low[i])],
        ['highest', g.show(course.high[i])],
      );
    } else if (Number.isFinite(course.mean[i])) {
      lines.push([what, g.show(course.mean[i])]);
    } else if (!course.not_finite[i]) {
      lines.push([what, 'not measured']);
    }
    if (course.not_finite[i]) {
      lines.push([
        lines.length ? 'NaN or Inf' : what,
        rows > 1 ? `in ${course.not_finite[i]} of ${rows}` : 'NaN or Inf',
        'bad',
      ]);
    }
    return lines;
  }

  // Where the value of each column is drawn: at the step of its one row, else in the middle.
  function middles(edges, rows) {
    const result = new Float64Array(edges.length - 1);
    for (let i = 0; i < result.length; i++)
      result[i] = rows && rows[i] === 1 ? edges[i] + 0.5 : (edges[i] + edges[i + 1]) / 2;
    return result;
  }

  // From the last measured one to the end of what is drawn.
  function heldLine(x, course, end, color, more) {
    let i = x.length - 1;
    while (course.held && i >= 0 && !Number.isFinite(course.mean[i]) && !course.not_finite[i]) i--;
    if (i < 0 || !Number.isFinite(course.mean[i]) || end - x[i] <= 1) return [];
    const line = {width: 1, color: faint(color, 0.55), dash: '2px,3px'};
    const y = [course.mean[i], course.mean[i]];
    return [{type: 'scatter', mode: 'lines', hoverinfo: 'skip', ...more, x: [x[i], end], y, line}];
  }

  // A line with the band from lowest to highest around it, in one colour. The band stops at gaps.
  // `kept`: those columns only.
  function banded(all, whole, color, more) {
    const at = whole.kept;
    const x = at ? at.map((i) => all[i]) : all;
    const course = at
      ? {mean: at.map((i) => whole.mean[i]), low: at.map((i) => whole.low[i]), high: at.map((i) => whole.high[i])}
      : whole;
    const line = {type: 'scatter', mode: 'lines', hoverinfo: 'skip', ...more};
    const mean = {...line, x, y: course.mean, line: {width: 1.5, color, ...(more || {}).line}};
    if (x.length === 1 || lonely(course.mean)) Object.assign(mean, {mode: 'lines+markers', marker: {size: 3.5, color}});
    return [...bands(x, course, color, line), mean];
  }

  function bands(x, course, color, line) {
    if (!course.low.some((low, i) => course.high[i] > low)) return [];
    const parts = [];
    for (let i = 0; i < x.length; i++) {
      if (!Number.isFinite(course.low[i]) || !Number.isFinite(course.high[i])) continue;
      const first = i;
      while (i + 1 < x.length && Number.isFinite(course.low[i + 1]) && Number.isFinite(course.high[i + 1])) i++;
      if (i > first) parts.push([first, i + 1]);
    }
    if (parts.length > 30) return [];
    const edge = {...line, line: {width: 0, color}};
    return parts.flatMap(([a, b]) => [
      {...edge, x: x.slice(a, b), y: course.low.slice(a, b)},
      {...edge, x: x.slice(a, b), y: course.high.slice(a, b), fill: 'tonexty', fillcolor: faint(color)},
    ]);
  }

  // Whether a value stands between two gaps: a line alone would not show it.
  function lonely(values) {
    const gap = (i) => i < 0 || i >= values.length || !Number.isFinite(values[i]);
    return values.some((value, i) => Number.isFinite(value) && gap(i - 1) && gap(i + 1));
  }

  function faint(color, share = 0.22) {
    const [r, gr, b] = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
    return `rgba(${r},${gr},${b},${share})`;
  }

  // x signs at the top edge, over the columns with NaN or Inf.
  function badMarks(x, notFinite, more) {
    const at = [];
    let last = -Infinity;
    const gap = (x[x.length - 1] - x[0]) / 150;
    for (let i = 0; i < x.length; i++) {
      if (notFinite[i] && x[i] - last >= gap) at.push((last = x[i]));
    }
    return {
      type: 'scatter',
      mode: 'markers',
      hoverinfo: 'skip',
      x: at,
      y: at.map(() => 0.93),
      cliponaxis: false,
      marker: {symbol: 'x', size: 6, color: g.color('bad')},
      ...more,
    };
  }

  Object.assign(g, {middles, banded, heldLine, badMarks, measuredOnly, columnTitle, courseLines});
})((window.gradscope = window.gradscope || {}));
