// What the queue of masks to judge is made of: order, filters, counts, and reasons in words.

const RANK = ["missing", "failed", "done", "pending", "corrected", "accepted", "rejected"];
const WORDS = {
  empty: "nothing found", too_small: "very small", too_large: "covers nearly everything", fragmented: "in many pieces",
  touches_border: "reaches three sides", unlike_references: "unlike the examples", disputed: "other images say otherwise",
  unsure: "outline unsure",
};
export const STATES = { all: "All", open: "Not judged", accepted: "Accepted", corrected: "Corrected", rejected: "Rejected", failed: "Failed" };

export function compare(a, b) {
  return RANK.indexOf(a.status) - RANK.indexOf(b.status) || (b.doubt ?? 0) - (a.doubt ?? 0) || a.path.localeCompare(b.path);
}

// Whether a target has a mask that nobody judged or made.
export const isOpen = ({ status }) => status === "done";

const stateOf = ({ status }) => ({ done: "open", pending: "open", missing: "failed" }[status] ?? status);

export function counts(targets) {
  const found = Object.fromEntries(Object.keys(STATES).map((name) => [name, 0]));
  for (const target of targets) { found.all++; found[stateOf(target)]++; }
  return found;
}

export function matches(target, { state = "all", label = "", reason = "", text = "" }) {
  return (state === "all" || stateOf(target) === state) && (!label || target.labels.includes(label)) &&
    (!reason || target.reasons.some((said) => codeOf(said) === reason)) &&
    (!text || target.path.toLowerCase().includes(text.toLowerCase()));
}

// "coin: too_small" of several classes, "too_small" of one.
const codeOf = (reason) => reason.slice(reason.lastIndexOf(": ") + 1).trim();
export const inWords = (code) => WORDS[code] ?? code.replaceAll("_", " ");
export const reasonsOf = (targets) => [...new Set(targets.flatMap(({ reasons }) => reasons.map(codeOf)))];

// Why a mask is worth a look, in words; nothing once a person has judged or made it.
export function why({ status, reasons, doubt, labels }) {
  if (status !== "done") return [];
  const real = labels.length ? reasons.filter((said) => codeOf(said) !== "empty") : reasons; // one class may be absent
  const words = real.map((said) => said.slice(0, said.length - codeOf(said).length) + inWords(codeOf(said)));
  const level = doubt > 0.5 ? "doubtful" : doubt > 0.25 ? "some doubt" : "looks sure";
  return words.length ? words : [labels.length ? level : "nothing found"];
}
