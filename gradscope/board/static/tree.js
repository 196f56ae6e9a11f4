// The parameters as a tree of modules, in the model's order; each node is a range of that order.
(function (g) {
  'use strict';

  // -> {nodes: [root's children...]}; a node: {key, label, path, first, last, depth, children, parameter}
  function treeOf(parameters) {
    const root = {path: '', first: 0, last: parameters.length - 1, children: [], depth: -1};
    const open = [root];
    parameters.forEach((parameter, i) => {
      const parts = parameter.name.split('=')[0].split('.');
      let depth = 0;
      while (depth + 1 < open.length && depth < parts.length - 1 && open[depth + 1].part === parts[depth]) depth++;
      open.length = depth + 1;
      for (; depth < parts.length - 1; depth++) {
        const up = open[depth];
        const node = {
          part: parts[depth],
          label: parts[depth],
          path: parts.slice(0, depth + 1).join('.'),
          first: i,
          last: i,
          children: [],
        };
        up.children.push(node);
        open.push(node);
      }
      const shared = parameter.name.indexOf('=');
      const label = parts[parts.length - 1] + (shared < 0 ? '' : ` ${parameter.name.slice(shared)}`);
      open[depth].children.push({label, path: parameter.name, first: i, last: i, children: [], parameter});
      for (const node of open) node.last = i;
    });
    root.children = root.children.map(joined);
    settle(root, -1);
    return root;
  }

  // A module with one child is one line with it.
  function joined(node) {
    let at = node;
    while (at.children.length === 1) {
      const child = at.children[0];
      at = {...child, label: `${at.label}.${child.label}`};
    }
    return {...at, children: at.children.map(joined)};
  }

  function settle(node, depth) {
    node.depth = depth;
    node.key = node.parameter ? String(node.first) : `${node.first}-${node.last}`;
    node.open = false;
    for (const child of node.children) settle(child, depth + 1);
  }

  // Opens as many levels as fit into `most` lines.
  function openLevels(root, most) {
    let level = root.children;
    let lines = level.length;
    while (level.length) {
      const groups = level.filter((node) => node.children.length);
      const more = groups.reduce((sum, node) => sum + node.children.length, 0);
      if (!groups.length || lines + more > most) break;
      lines += more;
      for (const node of groups) node.open = true;
      level = groups.flatMap((node) => node.children);
    }
  }

  // The lines to be seen: the nodes that no closed one hides.
  function visible(root) {
    const lines = [];
    const walk = (node) => {
      lines.push(node);
      if (node.open) node.children.forEach(walk);
    };
    root.children.forEach(walk);
    return lines;
  }

  function each(root, call) {
    for (const child of root.children) {
      call(child);
      each(child, call);
    }
  }

  // The node of a parameter's number, its modules opened on the way.
  function reveal(root, index) {
    let node = root;
    while (!node.parameter) {
      const next = node.children.find((child) => child.first <= index && index <= child.last);
      if (!next) return null;
      if (node !== root) node.open = true;
      node = next;
    }
    return node;
  }

  // The line in which a parameter is seen now: itself or the closed module that hides it.
  function shownLine(root, index) {
    let node = root;
    while (node === root || (node.open && node.children.length)) {
      const next = node.children.find((child) => child.first <= index && index <= child.last);
      if (!next) return null;
      node = next;
    }
    return node;
  }

  // Lines as the server is asked for them: neighbours that are one parameter each in one word.
  function query(nodes) {
    const words = [];
    for (let i = 0; i < nodes.length;) {
      let n = 1;
      while (nodes[i].parameter && nodes[i + n] && nodes[i + n].parameter && nodes[i + n].first === nodes[i].first + n)
        n++;
      words.push(n > 1 ? `${nodes[i].first}*${n}` : nodes[i].key);
      i += n;
    }
    return words.join(',');
  }

  Object.assign(g, {tree: {of: treeOf, openLevels, visible, each, reveal, shownLine, query}});
})((window.gradscope = window.gradscope || {}));
