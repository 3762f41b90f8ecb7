// The page in small, as a figure of another page: the maps, playing, with lr, momentum and nesterov to turn.

import { App } from './page.js';

const TURNED = ['lr', 'momentum'];

// `place` is the element that becomes the figure, `given` as for the page, `style` what its sheet says.
export function start(place, given, style) {
  const sheet = document.createElement('style'), root = document.createElement('div');
  sheet.textContent = style;
  root.tabIndex = -1;  // so that keys reach it once it was touched
  place.attachShadow({ mode: 'open' }).append(sheet, root);  // no style or name of the page around it meets its own
  root.classList.add('small');
  const app = new App(root, given, { address: false, ask: () => Promise.reject(new Error('nobody is there to be asked')) });
  for (const part of [app.header.box, app.curves.box, app.fit.box, app.words.box.parentElement, app.phase.box]) part.remove();
  for (const [name, row] of Object.entries(app.knobs_.rows)) if (!TURNED.includes(name)) row.box.remove();
  for (const name in app.knobs_.switches) if (name !== 'nesterov') app.knobs_.switches[name].parentElement.remove();
  app.knobs_.optimizer.remove();
  app.knobs_.start[0].closest('.start').remove();
  if (!matchMedia('(prefers-reduced-motion: reduce)').matches) playOnceSeen(app, place);
  return app;
}

// What moves out of sight is not seen: the figure plays when it is looked at for the first time.
function playOnceSeen(app, place) {
  new IntersectionObserver(([seen], watcher) => {
    if (!seen.isIntersecting) return;
    watcher.disconnect();
    app.bar.play();
  }, { threshold: 0.4 }).observe(place);
}
