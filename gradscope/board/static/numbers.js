// Numbers as people read them, and the arrays in which they come.
(function (g) {
  'use strict';

  const KINDS = {f4: Float32Array, f8: Float64Array, i4: Int32Array, u1: Uint8Array, u2: Uint16Array};

  // {"type", "shape", "data"} -> a typed array with `shape`; everything else stays as it is.
  function decode(value) {
    if (Array.isArray(value)) return value.map(decode);
    if (value === null || typeof value !== 'object') return value;
    if (typeof value.data === 'string' && value.type in KINDS) {
      const text = atob(value.data);
      const bytes = new Uint8Array(text.length);
      for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
      const array = new KINDS[value.type](bytes.buffer);
      array.shape = value.shape;
      return array;
    }
    const result = {};
    for (const key of Object.keys(value)) result[key] = decode(value[key]);
    return result;
  }

  // Four significant digits, as Python's .4g.
  function show(x) {
    if (x === null || x === undefined) return '';
    if (typeof x === 'string') return x;
    if (Number.isNaN(x)) return 'nan';
    if (!Number.isFinite(x)) return x > 0 ? 'inf' : '-inf';
    if (x === 0) return '0';
    const size = Math.abs(x);
    if (size >= 1e-4 && size < 1e6) {
      const text = x.toPrecision(4);
      return text.includes('e') ? String(Number(text)) : trim(text);
    }
    const [digits, exponent] = x.toExponential(3).split('e');
    return `${trim(digits)}e${exponent.replace('+', '')}`;
  }

  function trim(text) {
    return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
  }

  const grouped = new Intl.NumberFormat('en-US');

  // 16000 -> "16,000"
  function count(n) {
    return grouped.format(n);
  }

  function plural(n, what) {
    return `${count(n)} ${what}${n === 1 ? '' : 's'}`;
  }

  function span(first, last) {
    return last > first ? `steps ${count(first)}–${count(last)}` : `step ${count(first)}`;
  }

  // A power of ten as text: 1, 10, 0.01, 1e-5.
  function power(exponent) {
    if (exponent >= -3 && exponent <= 4) return trimmedPower(exponent);
    return `1e${exponent}`;
  }

  function trimmedPower(exponent) {
    return exponent >= 0 ? String(10 ** exponent) : (10 ** exponent).toFixed(-exponent);
  }

  // Round numbers in [low, high], about `most` of them.
  function roundSteps(low, high, most) {
    const raw = Math.max((high - low) / Math.max(1, most), 1e-300);
    const base = 10 ** Math.floor(Math.log10(raw));
    const size = [1, 2, 5, 10].map((n) => n * base).find((n) => n >= raw * 0.999);
    const ticks = [];
    for (let n = Math.ceil(low / size - 1e-9); n * size <= high + size * 1e-9 && ticks.length < 100; n++) {
      ticks.push(n * size || 0);
    }
    return ticks;
  }

  // The last index whose edge is not after x.
  function indexOf(edges, x) {
    let low = 0,
      high = edges.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (edges[middle] <= x) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  Object.assign(g, {decode, show, count, plural, span, power, roundSteps, indexOf});
})((window.gradscope = window.gradscope || {}));
