// What TensorBoard loads: brings the style, the scripts and plotly, then starts the tab.
const base = new URL('.', import.meta.url);
const PATIENCE = 1500; // milliseconds that plotly waits for the first questions to be asked

export async function render() {
  const style = link('stylesheet', new URL('style.css', base));
  document.title = 'GradScope';
  document.body.classList.add('gradscope');
  try {
    const files = await (await fetch(new URL('files', base), {cache: 'no-store'})).json();
    await Promise.all([style, ...files.scripts.map((name) => script(new URL(name, base)))]);
    let begin = () => {};
    const plotly = files.plotly
      ? new Promise((resolve, reject) => {
          begin = () => script(new URL('plotly.js', base)).then(resolve, reject);
        })
      : null;
    const provider = window.gradscope.fetching(base);
    const app = window.gradscope.start({provider, root: document.body, plotly, remember: true});
    if (plotly) link('preload', new URL('plotly.js', base));
    // Reading plotly takes the browser most of a second: the server works on the answers meanwhile.
    await Promise.race([app.started, new Promise((resolve) => setTimeout(resolve, PATIENCE))]);
    begin();
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
    node.async = false;
    node.onload = resolve;
    node.onerror = () => reject(new Error(`${url.pathname.split('/').pop()} could not be loaded.`));
    document.head.append(node);
  });
}

// Without its style the page is plain, but whole.
function link(rel, url) {
  return new Promise((resolve) => {
    const node = document.createElement('link');
    node.rel = rel;
    if (rel === 'preload') node.as = 'script';
    node.href = url;
    node.onload = node.onerror = resolve;
    document.head.append(node);
  });
}
