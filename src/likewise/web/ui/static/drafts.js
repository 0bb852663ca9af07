// What is painted and not saved yet, kept in the browser: a reload, or Escape, loses nothing.

const open = new Promise((resolve, reject) => {
  const asked = indexedDB.open("likewise", 1);
  asked.onupgradeneeded = () => asked.result.createObjectStore("drafts");
  asked.onsuccess = () => resolve(asked.result);
  asked.onerror = () => reject(asked.error);
});
open.catch(() => {}); // a private window may have no place: it then is as if nothing was kept

async function within(mode, act) {
  try {
    const store = (await open).transaction("drafts", mode).objectStore("drafts"), asked = act(store);
    return await new Promise((resolve, reject) => {
      asked.onsuccess = () => resolve(asked.result);
      asked.onerror = () => reject(asked.error);
    });
  } catch { return undefined; }
}

// Drafts of one project: of references ("example") and of targets ("mask"), by their ids.
export class Drafts {
  constructor(project) { this.project = project; }

  key(kind, id) { return `${this.project}/${kind}/${id}`; }

  // `draft`: {labels, width, height}, and `rect` if it is of a part of a large picture.
  keep(kind, id, draft) { return within("readwrite", (store) => store.put(draft, this.key(kind, id))); }

  drop(kind, id) { return within("readwrite", (store) => store.delete(this.key(kind, id))); }

  get(kind, id) { return within("readonly", (store) => store.get(this.key(kind, id))); }

  // The ids that have a draft.
  async ids(kind) {
    const start = this.key(kind, "");
    const keys = await within("readonly", (store) => store.getAllKeys(IDBKeyRange.bound(start, `${start}\uffff`)));
    return new Set((keys ?? []).map((key) => key.slice(start.length)));
  }
}
