// What TensorBoard loads: brings the style, the scripts and plotly, then starts the tab.
const base = new URL('.', import.meta.url);

export async function render() {
  const style = link(new URL('style.css', base));
  document.title = 'GradScope';
  document.body.classList.add('gradscope');
  try {
    const files = await (await fetch(new URL('files', base), {cache: 'no-store'})).json();
    const plotly = files.plotly ? script(new URL('plotly.js', base)) : null;
    if (plotly) plotly.catch(() => {});
    await Promise.all([style, ...files.scripts.map((name) => script(new URL(name, base)))]);
    window.gradscope.start({provider: window.gradscope.fetching(base), root: document.body, plotly, remember: true});
  } catch (problem) {
    const sentence = document.createElement('p');
    sentence.dataset.testid = 'message';
    sentence.textContent = `GradScope could not be started: ${problem.message}`;
    document.body.append(sentence);
  }
}

// In the order of the calls, though loaded at once.
function script(url) {
  return new Promise((resolve, reject) => {
    const node = document.createElement('script');
    node.src = url;
    node.async = url.pathname.endsWith('plotly.js');
    node.onload = resolve;
    node.onerror = () => reject(new Error(`${url.pathname.split('/').pop()} could not be loaded.`));
    document.head.append(node);
  });
}

// Without its style the page is plain, but whole.
function link(url) {
  return new Promise((resolve) => {
    const node = document.createElement('link');
    node.rel = 'stylesheet';
    node.href = url;
    node.onload = node.onerror = resolve;
    document.head.append(node);
  });
}
