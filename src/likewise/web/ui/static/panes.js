// What the page remembers in the browser, panes that can be made wider, and groups that arrows walk through.

// A value that stays from visit to visit; a private window may have no place for it.
export function kept(name, value) {
  try {
    if (value !== undefined) localStorage.setItem(`likewise ${name}`, value);
    return localStorage.getItem(`likewise ${name}`);
  } catch { return null; }
}

// A slider, which has its `oninput`, keeps its place.
export function remember(input) {
  const was = kept(input.id);
  if (was !== null) { input.value = was; input.oninput(); }
  input.addEventListener("change", () => kept(input.id, input.value));
}

// `bar` stands between the two panes of `box`: it is dragged, or moved with the arrows; a double click puts it back.
export function splitter(bar, box, usual) {
  const set = (share) => {
    const percent = Math.round(100 * Math.min(0.75, Math.max(0.15, share)));
    box.style.setProperty("--first", `${percent}%`);
    bar.ariaValueNow = String(percent);
    return percent;
  };
  const keep = (share) => kept(bar.id, set(share) / 100);
  Object.assign(bar, { role: "separator", tabIndex: 0, ariaOrientation: "vertical", ariaValueMin: "15", ariaValueMax: "75" });
  bar.onpointerdown = (event) => bar.setPointerCapture(event.pointerId);
  bar.onpointermove = (event) => {
    const { left, width } = box.getBoundingClientRect();
    if (bar.hasPointerCapture(event.pointerId)) keep((event.clientX - left) / width);
  };
  bar.onpointerup = () => bar.blur(); // the keys are for the picture again
  bar.ondblclick = () => keep(usual);
  bar.onkeydown = (event) => {
    const by = { ArrowLeft: -0.03, ArrowRight: 0.03 }[event.key];
    if (!by) return;
    event.stopPropagation();
    event.preventDefault();
    keep(Number(bar.ariaValueNow) / 100 + by);
  };
  set(Number(kept(bar.id)) || usual);
}

const GROUPS = '[role="radiogroup"], [role="toolbar"], [role="listbox"], #grid';
const itemsOf = (group) => [...group.querySelectorAll("button:not([hidden], :disabled)")].filter((item) => item.closest(GROUPS) === group);

// Each group is one stop of the Tab key, and arrows walk inside it. What is chosen is the stop, or what had the focus last.
export function roving() {
  const settle = (group) => {
    const items = itemsOf(group), is = (what) => items.find((item) => item.getAttribute(what) === "true");
    const stop = items.find((item) => item === document.activeElement) ?? is("aria-checked") ?? is("aria-selected") ??
      items.find((item) => item === group.stop) ?? is("aria-pressed") ?? items[0];
    for (const item of items) item.tabIndex = item === stop ? 0 : -1;
    group.stop = stop;
  };
  const watch = new MutationObserver((changes) => new Set(changes.map(({ target }) => target.closest(GROUPS)).filter(Boolean)).forEach(settle));
  for (const group of document.querySelectorAll(GROUPS)) {
    watch.observe(group, { childList: true, subtree: true, attributeFilter: ["disabled", "hidden", "aria-checked", "aria-selected"] });
    group.addEventListener("focusin", () => settle(group));
    settle(group);
  }
}

// The item that an arrow, Home or End leads to from another; undefined where the key leads nowhere.
export function along(item, key) {
  const group = item.closest(GROUPS);
  if (!group) return undefined;
  const items = itemsOf(group), at = items.indexOf(item), row = group.id === "grid" ? getComputedStyle(group).gridTemplateColumns.split(" ").length : 1;
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -row, ArrowDown: row, Home: -at, End: items.length - 1 - at }[key];
  if (by === undefined || at < 0) return undefined;
  return group.id === "grid" ? items[Math.min(items.length - 1, Math.max(0, at + by))] : items[(at + by + items.length) % items.length];
}
