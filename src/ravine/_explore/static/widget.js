// The page in a notebook's cell: it asks the kernel by messages, and leaves the address alone.

import { App } from './page.js';

export function render({ model, el }) {
  const waiting = new Map();
  let count = 0;
  const listen = ({ id, answer }) => {
    waiting.get(id)?.(answer);
    waiting.delete(id);
  };
  model.on('msg:custom', listen);
  const ask = (what, question) => new Promise((done) => {
    count += 1;
    waiting.set(count, done);
    model.send({ id: count, what, question });
  });
  const root = document.createElement('div');
  el.append(root);
  root.tabIndex = -1;  // so that keys reach the page once it was touched
  new App(root, model.get('given'), { address: false, ask });
  return () => model.off('msg:custom', listen);
}
