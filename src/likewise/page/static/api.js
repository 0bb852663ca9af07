// Talking to the server, and telling the person what went wrong, in one sentence.

export function toast(text, calm = false) {
  const note = document.createElement("div");
  note.className = calm ? "toast calm" : "toast";
  note.textContent = text;
  const box = document.getElementById("toasts");
  box.append(note);
  if (box.children.length > 4) box.firstChild.remove();
  box.hidePopover();
  box.showPopover(); // above dialogs
  setTimeout(() => note.remove(), calm ? 4000 : 9000);
}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server cannot be reached: is likewise ui still running?");
  }
  if (!answer.ok) {
    const text = await answer.text();
    let words = text;
    try { words = JSON.parse(text).error; } catch { /* plain text says it as it is */ }
    throw new Error(words || `The server said ${answer.status}: reload the page.`);
  }
  return answer;
}

export const get = async (path) => (await ask(path)).json();
export const binary = async (path) => (await ask(path)).arrayBuffer();

// What changes something goes one after the other, in the order of the person's doings.
let queue = Promise.resolve();

export function send(method, path, body) {
  const raw = body instanceof Uint8Array || body instanceof Blob;
  const options = { method, body: raw || body === undefined ? body : JSON.stringify(body) };
  if (!raw && body !== undefined) options.headers = { "content-type": "application/json" };
  const sent = queue.then(() => ask(path, options));
  queue = sent.catch(() => {});
  return sent;
}

export const settled = () => queue;

// A label map as the server sends it: height, width, bytes.
export async function labelMap(path) {
  const data = await binary(path);
  const [height, width] = new Uint32Array(data, 0, 2);
  return { height, width, labels: new Uint8Array(data.slice(8)) };
}

// Calls `hear(event)` for what happens; `renew()` whenever the line was made (again).
export function listen(hear, renew) {
  const line = new EventSource("/api/events");
  let lost = false;
  line.onmessage = (message) => hear(JSON.parse(message.data));
  line.onopen = () => { lost = false; renew(); };
  line.onerror = () => {
    const ended = line.readyState === EventSource.CLOSED;
    if (ended) toast("The server was started anew: open the address that it printed.");
    else if (!lost) toast("The connection to the server is lost: is likewise ui still running?");
    lost = true;
  };
}
