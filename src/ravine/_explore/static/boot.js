// Starts the page in a document of its own: the file, or what the server sent.

import { App } from './page.js';

const KEPT = 'ravine-token';

export function start() {
  const page = writePage(document.documentElement.outerHTML);
  const given = JSON.parse(document.getElementById('given').textContent), token = takeToken();
  const ask = async (what, question) => {
    const answer = await fetch(what, { method: 'POST', headers: { 'Content-Type': 'application/json', 'X-Ravine-Token': token }, body: JSON.stringify(question) });
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`.trim());
    return answer.json();
  };
  const root = document.getElementById('page');
  root.style.minHeight = '100vh';
  globalThis.ravine = new App(root, given, { address: true, ask, page });
}

// Writes this document as it came, with something else given and nobody to be asked.
function writePage(came) {
  const begin = came.indexOf('>', came.indexOf('id="given"')) + 1, end = came.indexOf('<', begin);  // in the JSON it is escaped
  const head = came.slice(0, begin).replace(/connect-src [^;"]+/, "connect-src 'none'");
  return (given) => `<!doctype html>\n${head}${JSON.stringify(given).replaceAll('<', '\\u003c')}${came.slice(end)}\n`;
}

// The token comes in the address once, and is kept for reloads of this tab; links do not carry it.
function takeToken() {
  const parts = new URLSearchParams(location.hash.slice(1)), token = parts.get('token');
  if (!token) {
    try {
      return sessionStorage.getItem(KEPT) ?? '';
    } catch {
      return '';
    }
  }
  parts.delete('token');
  history.replaceState(null, '', `#${parts}`);
  try {
    sessionStorage.setItem(KEPT, token);
  } catch {}  // without storage a reload has to be opened anew
  return token;
}
