// Light or dark, as TensorBoard is (its switch is followed) or as the system is; and the colours of the pictures.
(function (g) {
  'use strict';

  function parentBody() {
    try {
      return window.parent !== window ? window.parent.document.body : null;
    } catch {
      return null;
    }
  }

  // Calls `changed()` each time the theme has changed; the choice stands on the root element. Paper is light.
  function followTheme(changed) {
    const host = parentBody();
    const system = window.matchMedia('(prefers-color-scheme: dark)');
    let printing = false;
    const print = (on) => () => {
      printing = on;
      apply();
    };
    const apply = () => {
      const dark = printing ? false : host ? host.classList.contains('dark-mode') : system.matches;
      const now = dark ? 'dark' : 'light';
      if (document.documentElement.dataset.theme === now) return;
      document.documentElement.dataset.theme = now;
      changed();
    };
    if (host) new MutationObserver(apply).observe(host, {attributes: true, attributeFilter: ['class']});
    else system.addEventListener('change', apply);
    window.addEventListener('beforeprint', print(true));
    window.addEventListener('afterprint', print(false));
    apply();
  }

  function isDark() {
    return document.documentElement.dataset.theme === 'dark';
  }

  function color(variable) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${variable}`).trim();
  }

  // Norms: viridis. Update / weight: blue below the usual, orange above it (told apart by every eye).
  const VIRIDIS = [
    '#440154',
    '#482878',
    '#3e4a89',
    '#31688e',
    '#26828e',
    '#1f9e89',
    '#35b779',
    '#6ece58',
    '#b5de2b',
    '#fde725',
  ];
  const AROUND = {
    light: ['#123a73', '#2f6db3', '#86b3dc', '#e9ecef', '#f0b46a', '#cf7416', '#7a3b00'],
    dark: ['#8cc2ff', '#4a8fd6', '#2c5584', '#4a4f57', '#90601f', '#d98a2b', '#ffc980'],
  };
  // GradState numbers; after Okabe and Ito.
  const STATES = [
    {word: 'not seen', sign: '', color: null},
    {word: 'none', sign: '', color: null},
    {word: 'zero', sign: '0', color: '#f0e442', ink: '#3d3900'},
    {word: 'fresh', sign: 'F', color: '#9fd0ea', ink: '#0d3b54'},
    {word: 'accumulated', sign: 'A', color: '#0072b2', ink: '#ffffff'},
    {word: 'stale', sign: 'S', color: '#d55e00', ink: '#1d0b00'},
  ];
  const MEANINGS = [
    'nobody looked',
    'no gradient',
    'a gradient that is all zeros',
    'made since the last clear by one backward',
    'several backwards added up',
    'a step has used it, or a part of it, already',
  ];
  const STATE_ORDER = [5, 4, 3, 2, 1, 0];

  // [[0, colour], ... [1, colour]], as plotly wants a scale.
  function scaleColors(stat) {
    const colors = stat === 'update' ? AROUND[isDark() ? 'dark' : 'light'] : VIRIDIS;
    return colors.map((c, i) => [i / (colors.length - 1), c]);
  }

  // The severities, with a sign and a word beside the colour.
  const SEVERITIES = {
    error: {
      word: 'error',
      path: 'M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm-2.6 3.4L8 7l2.6-2.6 1 1L9 8l2.6 2.6-1 1L8 9l-2.6 2.6-1-1L7 8 4.4 5.4Z',
    },
    warning: {
      word: 'warning',
      path: 'M8 1.2 15.4 14.4H.6Zm-.8 4.6.2 4.4h1.2l.2-4.4Zm.8 5.4a.9.9 0 1 0 0 1.8.9.9 0 0 0 0-1.8Z',
    },
    info: {
      word: 'info',
      path: 'M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm0 2.8a1 1 0 1 1 0 2 1 1 0 0 1 0-2ZM6.6 7h2.1v4h1v1.2H6.4V11h.9V8.2h-.7Z',
    },
  };

  function severityOf(severity) {
    return SEVERITIES[severity] || SEVERITIES.info;
  }

  Object.assign(g, {followTheme, isDark, color, scaleColors, severityOf, STATES, MEANINGS, STATE_ORDER});
})((window.gradscope = window.gradscope || {}));
