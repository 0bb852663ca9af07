// Talking to the server, and telling the person what went wrong, in one sentence.

// `undo`: what a button in it does.
export function toast(text, calm = false, undo = null) {
  const note = document.createElement("div"), words = document.createElement("span");
  note.className = calm ? "toast calm" : "toast";
  note.role = calm ? "status" : "alert";
  words.textContent = text;
  note.append(words);
  if (undo) note.append(Object.assign(document.createElement("button"), { textContent: "Undo", onclick: () => { note.remove(); undo(); } }));
  note.append(Object.assign(document.createElement("button"), { textContent: "✕", ariaLabel: "Dismiss", onclick: () => note.remove() }));
  const box = document.getElementById("toasts");
  box.append(note);
  if (box.children.length > 4) box.firstChild.remove();
  box.hidePopover();
  box.showPopover(); // above dialogs
  setTimeout(() => note.remove(), undo ? 15000 : calm ? 4000 : 9000);
}

const KEPT = "What you paint is kept meanwhile.";
let project = null; // id of the project that this tab shows

export function showing(id) { project = id; }

async function ask(path, options = {}) {
  let answer;
  const headers = { ...options.headers, ...(project && { "x-likewise-project": project }) };
  try {
    answer = await fetch(path, { ...options, headers });
  } catch {
    throw Object.assign(new Error(`The server cannot be reached: is likewise ui still running? ${KEPT}`), { lost: true });
  }
  if (answer.status === 401) {
    const words = `The server was started anew: open the address that it printed, then go on here. ${KEPT}`;
    throw Object.assign(new Error(words), { lost: true });
  }
  if (!answer.ok) {
    const text = await answer.text();
    let said = { error: text };
    try { said = JSON.parse(text); } catch { /* plain text says it as it is */ }
    const error = new Error(said.error || `The server said ${answer.status}: reload the page.`);
    throw Object.assign(error, { stale: answer.status === 409, gone: answer.status === 404 });
  }
  return answer;
}

export const get = async (path) => (await ask(path)).json();
export const binary = async (path) => (await ask(path)).arrayBuffer();

// As `binary`, of what the server makes first; null once `wanted()` says so.
export async function made(path, wanted) {
  while (wanted()) {
    const answer = await ask(path);
    if (answer.status !== 202) return answer.arrayBuffer();
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  return null;
}

// What changes something goes one after the other, in the order of the person's doings. `path` and
// `body` may be functions: they are called when it is sent, after the answers before were heard. Gives what
// the answer says, or the answer itself if that is a file.
let queue = Promise.resolve();

export function send(method, path, body) {
  const sent = queue.then(() => {
    const said = typeof body === "function" ? body() : body;
    const raw = said instanceof Uint8Array || said instanceof Blob || said === undefined;
    const options = { method, body: raw ? said : JSON.stringify(said) };
    if (!raw) options.headers = { "content-type": "application/json" };
    return ask(typeof path === "function" ? path() : path, options);
  }).then((answer) => (answer.headers.get("content-type").startsWith("application/json") ? answer.json() : answer));
  queue = sent.then(() => {}, () => {});
  return sent;
}

export const settled = () => queue;

// A label map as the server sends it: height, width, bytes; of a question if there is a body.
export async function labelMap(path, body = null) {
  const asked = body && { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } };
  const data = await (await ask(path, asked ?? {})).arrayBuffer();
  const [height, width] = new Uint32Array(data, 0, 2);
  return { height, width, labels: new Uint8Array(data.slice(8)) };
}

const BUSY = 150, CALM = 600, HIDDEN = 3000; // ms between two questions

// Calls `hear(event)` for what happens; `renew()` at first, and when events were lost; `trouble(text)`
// while the server does not answer or does nothing, "" when all is well. It asks again and again: a
// line held open by every tab would use up the browser's connections.
export function listen(hear, renew, trouble) {
  let server = "", since = 0, timer = null, asking = false;
  const poll = async () => {
    if (asking) return;
    asking = true;
    clearTimeout(timer);
    let pause = CALM;
    try {
      const { events, ...said } = await get(`/api/events?server=${server}&since=${since}`);
      const first = server !== said.server;
      ({ server, last: since } = said);
      trouble(said.failed, true);
      if (first || events.some(({ kind }) => kind === "reload")) await renew();
      events.forEach(hear);
      if (events.length) pause = BUSY;
    } catch (error) {
      trouble(error.message);
    }
    asking = false;
    timer = setTimeout(poll, document.hidden ? HIDDEN : pause);
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });
  poll();
}
