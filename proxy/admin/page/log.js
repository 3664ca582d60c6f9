// The request log: a page of decisions at a time, filtered by decision and reason, or one request by its id.

import * as api from "./api.js";

const $ = (id) => document.getElementById(id);
const DECISIONS = ["answer", "partial", "abstain", "review", "rescue", "escalate"];
const REASONS = ["confident", "below_threshold", "unmeasured", "upstream_abstained", "tool_call", "budget"];

// `page` holds the functions of admin.js that are used here: make, trying, when, number, route.
export function logOf(page) {
  const { make, trying, when, number, route } = page;
  let cursor = null;

  for (const [id, names] of [["log-decision", DECISIONS], ["log-reason", REASONS]]) {
    $(id).append(...names.map((name) => make("option", { value: name, textContent: name.replaceAll("_", " ") })));
  }

  // The part of the address behind the route: the id of a request.
  const linked = () => new URLSearchParams(location.hash.split("?")[1] ?? "").get("request") ?? "";

  async function load(more = false) {
    const name = route();
    const id = $("log-id").value.trim();
    const filters = id ? { id } : { decision: $("log-decision").value, reason: $("log-reason").value, cursor: more ? cursor ?? "" : "" };
    const found = await api.log(name, filters);
    if (name !== route()) return;
    cursor = found.cursor;
    const rows = found.items.flatMap((item) => row(item, Boolean(id)));
    if (more) $("log").append(...rows);
    else $("log").replaceChildren(...rows);
    $("log-table").hidden = !$("log").children.length;
    $("log-more").hidden = cursor === null;
    $("log-none").hidden = $("log").children.length > 0;
    $("log-none").textContent = id ? "This route has no request with this id. Ids are kept as long as server.retention says."
      : "No request matches. Requests appear here a moment after their answer, unless the route is off.";
  }

  function row(item, whole) {
    const cell = (text, className = "") => make("td", { className, textContent: text });
    const link = make("a", { href: `#${encodeURIComponent(route())}?request=${encodeURIComponent(item.id)}`, textContent: item.id.slice(0, 12), title: item.id });
    const tokens = item.completion_tokens === null ? "" : `${(item.prompt_tokens ?? 0) + item.completion_tokens}`;
    const line = make("tr", {}, make("th", { scope: "row", textContent: when(item.at) }),
      cell(item.mode === "enforce" ? item.decision : `${item.decision} (${item.mode})`, "text"), cell(item.reason.replaceAll("_", " "), "text"),
      cell(item.confidence === null ? "" : number(item.confidence)), cell(item.threshold === null ? "" : number(item.threshold)),
      cell(tokens), cell(item.key ?? "", "text"), make("td", { className: "text" }, link, item.choice ? ` choice ${item.choice}` : ""));
    const missing = "The text of this request is not stored. Set server.log_text to store all texts.";
    const texts = [item.detail, ...(whole ? [item.question ?? missing, item.answer] : [])].filter(Boolean); // the link of a request opens its texts
    if (!texts.length) return [line];
    const more = make("td", { colSpan: 8, className: "text details" }, ...texts.map((text, place) => make("p", {
      className: text === item.answer && place ? "answer" : text === item.detail ? "small" : "question", textContent: text })));
    return [line, make("tr", {}, more)];
  }

  // Called when another route, or a link to a request, is opened.
  async function open() {
    $("log-id").value = linked();
    await load();
    if (linked()) $("log-title").scrollIntoView();
  }

  $("log-filter").addEventListener("submit", (event) => { event.preventDefault(); trying(() => load()); });
  for (const id of ["log-decision", "log-reason"]) $(id).addEventListener("change", () => { $("log-id").value = ""; trying(() => load()); });
  $("log-more").addEventListener("click", () => trying(() => load(true)));

  return { open };
}
