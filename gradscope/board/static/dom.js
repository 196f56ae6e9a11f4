// Elements, built with text only: what a user has named is never read as HTML.
(function (g) {
  'use strict';

  // el('button.quiet', {title: 'x', onclick: f}, 'text', child...): a new element.
  // `data-`, `aria-` and `role` become attributes; the rest are properties.
  function el(what, props, ...children) {
    const [tag, ...classes] = what.split('.');
    const node = document.createElement(tag || 'div');
    if (classes.length) node.className = classes.join(' ');
    for (const [key, value] of Object.entries(props || {})) {
      if (value === undefined || value === null) continue;
      if (key === 'style') Object.assign(node.style, value);
      else if (/^(data-|aria-|role$|for$|tabindex$|colspan$|scope$)/.test(key)) node.setAttribute(key, value);
      else node[key] = value;
    }
    return put(node, ...children);
  }

  function put(node, ...children) {
    for (const child of children.flat(3)) {
      if (child !== undefined && child !== null && child !== false) node.append(child);
    }
    return node;
  }

  function fill(node, ...children) {
    node.replaceChildren();
    return put(node, ...children);
  }

  // The same, and what had the focus has it again, where it is still there.
  function refill(node, ...children) {
    const held = node.contains(document.activeElement) ? document.activeElement : null;
    const same = (one) =>
      one.tagName === held.tagName &&
      one.getAttribute('aria-label') === held.getAttribute('aria-label') &&
      one.textContent === held.textContent;
    fill(node, ...children);
    const again = held && [...node.querySelectorAll(held.tagName)].find(same);
    if (again) again.focus({preventScroll: true});
    return node;
  }

  // Without the signs that would break a line or turn its direction.
  function inLine(text) {
    return String(text).replace(/[\p{Cc}\p{Zl}\p{Zp}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, '\ufffd');
  }

  // A name in one line: too long, it loses what is before its last characters. The whole is in the title.
  function name(text, tail = 12) {
    const signs = Array.from(inLine(text));
    const node = el('span.name', {title: inLine(text)});
    if (signs.length <= tail + 4) return put(node, el('span.name-head', {}, signs.join('')));
    const cut = signs.length - tail;
    return put(
      node,
      el('span.name-head', {}, signs.slice(0, cut).join('')),
      el('span.name-tail', {}, signs.slice(cut).join('')),
    );
  }

  // An svg icon of one path in a square of 16.
  function icon(path, label) {
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    svg.setAttribute('viewBox', '0 0 16 16');
    svg.setAttribute('class', 'icon');
    if (label) {
      svg.setAttribute('role', 'img');
      svg.setAttribute('aria-label', label);
    } else {
      svg.setAttribute('aria-hidden', 'true');
    }
    const shape = document.createElementNS('http://www.w3.org/2000/svg', 'path');
    shape.setAttribute('d', path);
    svg.append(shape);
    return svg;
  }

  // One sentence where a picture would be, with a button to try again where that can help.
  function message(text, retry) {
    return el(
      'div.message',
      {'data-testid': 'message', role: 'status'},
      el('span', {}, text),
      retry && el('button.quiet', {type: 'button', onclick: retry}, 'Try again'),
    );
  }

  let speaker = null;

  // Said by screen readers, seen by nobody.
  function say(text) {
    if (!speaker || !speaker.isConnected) {
      speaker = el('div.only-heard', {'aria-live': 'polite', 'data-testid': 'announcer'});
      document.body.append(speaker);
    }
    speaker.textContent = text;
  }

  // Into the clipboard; whether it is there.
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return copyByHand(text);
    }
  }

  // Where the clipboard is not given to a frame or a plain http page.
  function copyByHand(text) {
    const area = el('textarea.only-heard', {value: text, 'aria-hidden': 'true'});
    const focused = document.activeElement;
    document.body.append(area);
    area.select();
    try {
      return document.execCommand('copy');
    } catch {
      return false;
    } finally {
      area.remove();
      if (focused) focused.focus({preventScroll: true});
    }
  }

  function later(wait, call) {
    let timer = 0;
    return (...args) => {
      clearTimeout(timer);
      timer = setTimeout(() => call(...args), wait);
    };
  }

  // Many calls before the next frame are one.
  function framed(call) {
    let asked = false;
    return () => {
      if (asked) return;
      asked = true;
      requestAnimationFrame(() => {
        asked = false;
        call();
      });
    };
  }

  Object.assign(g, {el, put, fill, refill, inLine, name, icon, message, say, copy, later, framed});
})((window.gradscope = window.gradscope || {}));
