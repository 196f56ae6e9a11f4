// The keyboard in the heatmap: a cursor cell that arrows move, read aloud as it moves.
(function (g) {
  'use strict';

  // `act`: {choose(node, row), toggle(node)}
  function heatmapKeys(heatmap, axis, act) {
    const told = g.later(120, () => tell(heatmap));
    heatmap.node.addEventListener('focus', () => {
      if (!heatmap.cursor && heatmap.node.matches(':focus-visible')) start(heatmap, axis);
      tell(heatmap);
    });
    heatmap.node.addEventListener('keydown', (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || heatmap.empty || !heatmap.lines.length) return;
      if (!heatmap.cursor || !heatmap.at.has(heatmap.cursor.key)) start(heatmap, axis);
      const call = {
        ArrowUp: () => lines(-1),
        ArrowDown: () => lines(1),
        PageUp: () => lines(-10),
        PageDown: () => lines(10),
        ArrowLeft: () => columns(event.shiftKey ? -10 : -1),
        ArrowRight: () => columns(event.shiftKey ? 10 : 1),
        Home: () => columns(-Infinity),
        End: () => columns(Infinity),
        Enter: () => act.choose(nodeOf(heatmap), heatmap.cursor.row),
        ' ': () => nodeOf(heatmap).children.length && act.toggle(nodeOf(heatmap)),
      }[event.key];
      if (!call) return;
      event.preventDefault();
      call();
      told();
    });

    function lines(by) {
      const at = heatmap.at.get(heatmap.cursor.key);
      const next = heatmap.lines[Math.min(Math.max(at + by, 0), heatmap.lines.length - 1)];
      heatmap.setCursor({...heatmap.cursor, key: next.key}, true);
    }

    function columns(by) {
      const {edges} = heatmap.picture;
      const first = heatmap.columnOf(Math.max(axis.view[0], edges[0]));
      const last = heatmap.columnOf(Math.min(Math.ceil(axis.view[1]), axis.full[1]) - 1);
      const at = heatmap.columnOf(heatmap.cursor.row) + by;
      const row = edges[Math.min(Math.max(at, first), last)];
      if (at < first && by > -Infinity && axis.zoomed) axis.moveBy((axis.view[0] - axis.view[1]) / 4);
      if (at > last && by < Infinity && axis.zoomed) axis.moveBy((axis.view[1] - axis.view[0]) / 4);
      heatmap.setCursor({...heatmap.cursor, row: Math.max(row, axis.full[0])}, true);
    }
  }

  function nodeOf(heatmap) {
    return heatmap.lines[heatmap.at.get(heatmap.cursor.key)];
  }

  function start(heatmap, axis) {
    if (!heatmap.lines.length || heatmap.empty) return;
    const [first] = heatmap.inSight().slice(2);
    const key = heatmap.at.has(heatmap.chosenKey)
      ? heatmap.chosenKey
      : heatmap.lines[Math.min(first, heatmap.lines.length - 1)].key;
    const row = heatmap.cursor ? heatmap.cursor.row : axis.rowAt(axis.left + axis.width / 2);
    heatmap.setCursor({key, row}, true);
  }

  function tell(heatmap) {
    if (!heatmap.cursor || heatmap.empty || !heatmap.at.has(heatmap.cursor.key)) return;
    const node = nodeOf(heatmap);
    const i = heatmap.columnOf(heatmap.cursor.row);
    const lines = g.cellLines(heatmap.picture, node, i).map(([what, value]) => `${what} ${value}`);
    const group = node.children.length ? (node.open ? ', module, open' : ', module, closed') : '';
    g.say(`${node.path}${group}, ${g.cellTitle(heatmap.picture, i)}: ${lines.join(', ')}`);
  }

  g.heatmapKeys = heatmapKeys;
})((window.gradscope = window.gradscope || {}));
