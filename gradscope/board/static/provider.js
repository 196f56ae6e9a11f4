// Where the documents come from: `get(name, query)` resolves to one, or rejects with one sentence.
(function (g) {
  'use strict';

  // Beside the tab: asked of TensorBoard.
  function fetching(base) {
    async function get(name, query) {
      const url = new URL(name, base);
      for (const [key, value] of Object.entries(query || {})) {
        if (value !== undefined && value !== null) url.searchParams.set(key, value);
      }
      let answer;
      try {
        answer = await fetch(url, {cache: 'no-store'});
      } catch {
        throw new Error('TensorBoard does not answer.');
      }
      let document_;
      try {
        document_ = await answer.json();
      } catch {
        throw new Error(`TensorBoard answered with status ${answer.status}.`);
      }
      if (!answer.ok) throw new Error(document_.error || `TensorBoard answered with status ${answer.status}.`);
      return g.decode(document_);
    }
    return {get, live: true};
  }

  g.fetching = fetching;
})((window.gradscope = window.gradscope || {}));
