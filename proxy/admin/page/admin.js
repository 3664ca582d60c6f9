// The page: shows one route, and changes nothing before it has asked.

import * as api from "./api.js";
import { keysOf } from "./keys.js";
import { Curve, Hour, percent, Reliability } from "./charts.js";

const REFRESH_MS = 10_000;
const $ = (id) => document.getElementById(id);
const number = (value) => (value === null ? "not known" : `${+value.toPrecision(3)}`);
const count = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
const when = (at) => new Date(1000 * at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
const SERVED = ["answer", "rescue", "escalate"];
// What raises an alarm.
const ALARMS = {
  audit: { by: "audit labels", says: "the audit sample’s labels say that the risk is above its target" },
  feedback: { by: "users’ reports", says: "users’ reports say that the risk is above its target" },
  drift: { by: "drift", says: "confidences have moved, so that what comes in is not what the certificate was made for" },
};

const curve = new Curve($("curve"), (index) => choose(index));
const reliability = new Reliability($("reliability"));
const hour = new Hour($("hour"));

let shown = null; // the figures of the route
let chosen = 0; // which of its points
let items = [], after = 0, given = []; // the block that is being labelled, and what can be taken back
let timer = null;

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function say(text) {
  $("said").hidden = !text;
  $("said").textContent = text;
}

function show(id, text) {
  $(id).textContent = text;
  $(id).hidden = !text;
}

async function trying(work) {
  try {
    return await work();
  } catch (error) {
    if (error.status === 401) open(false);
    else say(error.message);
    return null;
  }
}

const busy = () => document.querySelector("dialog[open]") !== null;

// Logging in

function open(inside) {
  $("gate").hidden = inside;
  $("page").hidden = !inside;
  clearInterval(timer);
  if (inside) timer = setInterval(() => document.hidden || busy() || refresh(), REFRESH_MS);
  else $("key").focus();
}

$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("refused").textContent = "";
  try {
    await api.logIn($("key").value);
    $("key").value = "";
    await start();
  } catch (error) {
    $("refused").textContent = error.message;
  }
});

$("leave").addEventListener("click", () => trying(async () => {
  await api.logOut();
  open(false);
}));

// Which route

const wanted = () => decodeURIComponent(location.hash.slice(1));
addEventListener("hashchange", () => { if (!$("page").hidden) trying(load); });

async function start() {
  open(true);
  await trying(load);
}

async function listed() {
  const routes = await api.routes();
  const name = routes.some((route) => route.name === wanted()) ? wanted() : routes[0].name;
  $("routes").replaceChildren(...routes.map((route) => {
    const link = make("a", { href: `#${encodeURIComponent(route.name)}`, textContent: route.name });
    if (route.name === name) link.setAttribute("aria-current", "page");
    if (route.alarm) link.append(make("span", { className: "tag", textContent: " alarm" }));
    return link;
  }));
  await keys.load(routes.map((route) => route.name));
  return name;
}

async function load() {
  say("");
  const name = await listed();
  const found = await api.figures(name);
  document.title = `${name} · idk`;
  [items, after, given] = [[], 0, []];
  shown = null;
  take(found);
  await Promise.all([neighbours(), more()]);
}

async function refresh() {
  await trying(async () => {
    const name = await listed();
    if (name === shown?.name) take(await api.figures(name));
    if (!items.length) await more();
  });
}

// What is known

function take(figures) {
  const moved = shown?.name === figures.name && !$("reset").disabled ? shown.curve[chosen].threshold : null;
  shown = figures;
  heading();
  pictures();
  facts();
  history();
  const keep = moved === null ? -1 : figures.curve.findIndex((point) => point.threshold === moved);
  choose(keep >= 0 ? keep : inForce(), false);
}

const inForce = () => Math.max(0, shown.curve.findIndex((point) => point.threshold === shown.threshold));

function heading() {
  const { name, mode, policy, sample, alarm } = shown;
  $("kicker").textContent = [`Route ${name}`, mode, policy ?? "no policy"].join(" · ");
  const point = shown.curve[inForce()];
  $("headline").textContent = alarm?.closed ? "Nothing goes out."
    : shown.threshold === null ? "No threshold is in force." : point.words;
  $("lead").textContent = alarm?.closed ? (shown.threshold === null ? "" : `If it were open: ${point.words}`) : {
    enforce: "What is below the threshold is withheld: “I don’t know.”",
    observe: "The route observes: answers go out as they are, and nothing is withheld yet.",
    off: "The route is off.",
  }[mode];
  $("source").textContent = sample.drawn === 0
    ? "The audit sample is empty: give the route audit: 0.02 to keep two of a hundred requests for labelling."
    : `Estimated from ${count(sample.labelled, "label")} of ${count(sample.drawn, "answer")} drawn at random` +
      (sample.fresh ? " under the version in force." : ". The policy may have been fitted on some of them, which flatters it.");
  show("alarm", alarm?.raised
    ? `Alarm: ${ALARMS[alarm.cause].says}. The certificate is revoked` +
      (alarm.closed ? ", and nothing goes out until another version is in force."
        : alarm.threshold === null ? "." : `, and the threshold is tightened to ${number(alarm.threshold)}.`)
    : "");
}

function pictures() {
  const labelled = shown.curve.some((point) => point.risk !== null);
  $("curve").hidden = !labelled;
  $("curve-none").hidden = labelled;
  if (labelled) curve.show(shown.curve, shown.certificate?.target_risk ?? null);
  const { bins, n, base_rate, auroc, brier_skill, ece, ece_noise } = shown.quality;
  $("reliability").hidden = !n;
  $("reliability-none").hidden = n > 0;
  if (n) reliability.show(bins);
  $("quality").textContent = n
    ? `On the line, confidence is how often answers are right. ${count(n, "label")}, ${percent(base_rate)} of them right; AUROC ${number(auroc)}, Brier skill ${number(brier_skill)}, calibration error ${number(ece)} (${number(ece_noise)} would be chance).`
    : "";
  const start = 60 * Math.floor(shown.at / 60) - 59 * 60;
  const known = new Map(shown.hour.map((minute) => [Math.round(minute.at), minute.decisions]));
  const minutes = Array.from({ length: 60 }, (_, place) => {
    const decisions = Object.entries(known.get(start + 60 * place) ?? {});
    const sum = (some) => some.reduce((all, [, n]) => all + n, 0);
    return { at: start + 60 * place, all: sum(decisions), answered: sum(decisions.filter(([name]) => SERVED.includes(name))) };
  });
  hour.show(minutes);
  const [all, answered] = ["all", "answered"].map((name) => minutes.reduce((sum, minute) => sum + minute[name], 0));
  const would = shown.mode === "observe" ? " would have been" : "";
  $("rates").replaceChildren(...(all
    ? [make("span", { className: "key right" }), `${answered.toLocaleString("en")}${would} answered, `,
       make("span", { className: "key abstained" }), `${(all - answered).toLocaleString("en")}${would} withheld (${percent((all - answered) / all)}) of ${all.toLocaleString("en")}.`]
    : ["No requests."]));
}

function rows(id, pairs) {
  $(id).replaceChildren(...pairs.flatMap(([term, text]) => [make("dt", { textContent: term }), make("dd", { textContent: text })]));
}

function facts() {
  const { certificate, certified, alarm, drift, withheld, fixed, sharing } = shown;
  $("badge").textContent = certified ? "Certified" : certificate ? "Revoked, or not this threshold’s" : "Not certified";
  $("badge").classList.toggle("none", !certified);
  $("promise").textContent = certificate
    ? `At most ${percent(certificate.target_risk)} of what is answered is wrong, with probability ${percent(1 - certificate.delta)}: ${certificate.errors} wrong of ${certificate.answered} answered, of ${certificate.total} labels kept for this alone.`
    : "No bound on the risk is promised; the figures are estimates. A certificate is made by idk tune, from labels.";
  $("fixed").textContent = fixed ?? (sharing.length > 1 ? `Routes that follow this policy: ${sharing.join(", ")}.` : "");
  rows("watch", [
    ["Risk", alarm === null || !alarm.labels ? "no labels under this version yet" : `${alarm.errors} of ${alarm.labels} labelled answers wrong (${percent(alarm.errors / alarm.labels)})`],
    ["Reported", alarm === null ? "nothing" : `${alarm.reported} of ${count(alarm.answered, "answer")} as wrong`],
    ["Alarm", alarm?.raised ? `raised by ${ALARMS[alarm.cause].by}` : "none"],
    ["Drift (KS)", drift.ks === null ? "too few confidences" : `${number(drift.ks)}, p = ${number(drift.ks_p)}`],
    ["Drift (PSI)", drift.psi === null ? "too few confidences" : `${number(drift.psi)}, p = ${number(drift.psi_p)}`],
  ]);
  const all = withheld.right + withheld.wrong;
  const share = (n) => (all ? `${n} of ${all} labelled ones below the threshold (${percent(n / all)})` : "none of them is labelled");
  rows("cost", [
    ["Wrong answers kept back", share(withheld.wrong)],
    ["Right answers lost", share(withheld.right)],
    ["Tokens saved", withheld.saved_tokens === null ? "none" : `${withheld.saved_tokens.toLocaleString("en")} since the start, by ending streams early`],
    ["Tokens spent", withheld.extra_tokens === null ? "none beyond the answers’ own" : `${withheld.extra_tokens.toLocaleString("en")} since the start, beyond the answers’ own`],
  ]);
}

// The threshold

let asking = null;

function choose(index, look = true) {
  chosen = index;
  const point = shown.curve[index];
  const slider = $("threshold");
  slider.max = shown.curve.length - 1;
  slider.value = index;
  slider.setAttribute("aria-valuetext", `${number(point.threshold)}. ${point.words}`);
  const same = point.threshold === shown.threshold;
  $("value").textContent = number(point.threshold);
  $("words").textContent = point.words;
  $("labels").textContent = `${point.errors} wrong among ${count(point.answered, "labelled answer")} from here on.` + (same ? " In force." : " Not applied.");
  $("apply").disabled = same || shown.fixed !== null;
  $("reset").disabled = same || shown.threshold === null;
  curve.choose(index);
  if (!look) return;
  clearTimeout(asking);
  asking = setTimeout(() => trying(neighbours), 200);
}

$("threshold").addEventListener("input", () => choose(Number($("threshold").value)));
$("reset").addEventListener("click", () => choose(inForce()));

async function neighbours() {
  const at = shown.curve[chosen].threshold, name = shown.name;
  const found = await api.near(name, at);
  if (name !== shown.name || at !== shown.curve[chosen].threshold) return;
  const fill = (id, some) => $(id).replaceChildren(...(some.length ? some.map(article) : [make("p", { className: "nothing", textContent: "None." })]));
  fill("below", found.filter((item) => item.confidence < at).reverse());
  fill("above", found.filter((item) => item.confidence >= at));
}

function article(item) {
  const texts = item.answer === null
    ? [make("p", { className: "nothing", textContent: "Texts are kept with server.log_text alone." })]
    : [make("p", { className: "question", textContent: item.question ?? "" }), make("p", { className: "answer", textContent: item.answer })];
  const verdict = make("p", { className: "verdict" },
    make("strong", { textContent: item.confidence === null ? "unmeasured" : `confidence ${number(item.confidence)}` }),
    make("span", { textContent: when(item.at) }));
  return make("article", { className: SERVED.includes(item.decision) ? "" : "withheld" }, verdict, ...texts);
}

// Asking once

let agreed = null, followUp = null;

// `work` is done if the answer is yes, and `after` with what it gave; `anonymous`: nobody's name is kept.
function sure(title, text, yes, work, { anonymous = false, after: then = followed } = {}) {
  $("sure-title").textContent = title;
  $("sure-text").textContent = text;
  $("sure-yes").textContent = yes;
  $("sure-who").value = $("who").value;
  $("sure-name").hidden = anonymous;
  $("sure-who").required = !anonymous;
  [agreed, followUp] = [work, then];
  $("sure").showModal();
}

$("sure-no").addEventListener("click", () => $("sure").close());
$("sure-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const who = $("sure-who").value.trim();
  if ($("sure-who").required) {
    if (!who) return;
    named(who);
  }
  $("sure").close();
  const done = await trying(() => agreed(who));
  if (done) await followUp(done);
});

// The proxy takes a new version up within a second.
async function followed(done) {
  for (let tries = 0; tries < 20 && shown.policy !== done.policy; tries += 1) {
    await new Promise((wake) => setTimeout(wake, 150));
    const found = await trying(() => api.figures(shown.name));
    if (found) { $("reset").disabled = true; take(found); }
  }
  await trying(neighbours);
  say(`${done.said}.`);
}

$("apply").addEventListener("click", () => {
  const point = shown.curve[chosen], { name, version, policy } = shown;
  const lost = shown.certificate ? " The certificate speaks of the old threshold alone and goes with it." : "";
  const also = shown.sharing.length > 1 ? ` It holds on ${shown.sharing.join(", ")}.` : "";
  sure(`Threshold ${number(point.threshold)} instead of ${number(shown.threshold)}?`, `${point.words} It takes the place of ${policy} on every replica.${lost}${also}`, "Apply",
    (who) => api.apply(name, { threshold: point.threshold, version, who }));
});

// Policies

function history() {
  const { history: changes, version, name } = shown;
  $("history-none").hidden = changes.length > 0;
  $("history").replaceChildren(...changes.map((change, place) => {
    const back = make("button", { className: "quiet", textContent: `Roll back to @${change.version}` });
    back.addEventListener("click", () => sure(`Back to version ${change.version}?`,
      `Threshold ${number(change.threshold)}, ${change.certified ? "certified" : "not certified"}. It holds on every replica.`, "Roll back",
      (who) => api.rollBack(name, { version: change.version, in_force: version, who })));
    const first = changes.findIndex((other) => other.version === change.version) === place;
    const cell = (text, className = "") => make("td", { className, textContent: text });
    return make("tr", {}, make("th", { scope: "row", textContent: `@${change.version}` }), cell(number(change.threshold)),
      cell(change.certified ? "yes" : "no"), cell({ push: "pushed", rollback: "rolled back to" }[change.action], "text"), cell(change.who, "text"), cell(when(change.at)),
      make("td", {}, ...(change.version === version ? (first ? ["in force"] : []) : first && version !== null ? [back] : [])));
  }));
}

// Labels

function named(who) {
  $("who").value = who;
  sessionStorage.setItem("who", who);
}

$("who").addEventListener("change", () => named($("who").value.trim()));

async function more() {
  const name = shown.name;
  const found = await api.queue(name, after);
  if (name !== shown.name) return;
  [items, after] = [found.items, found.after];
  next();
}

function next() {
  const [item] = items;
  $("card").replaceChildren(item ? article(item) : make("p", { className: "nothing", textContent: "Nothing waits for a label." }));
  for (const button of $("labelling").querySelectorAll("button")) button.disabled = !item;
  $("undo").disabled = !given.length;
}

async function give(label) {
  const [item] = items;
  const who = $("who").value.trim();
  if (!item) return;
  if (!who) {
    say("Who labels? Give your name first.");
    $("who").focus();
    return;
  }
  const body = { id: item.id, choice: item.choice, who };
  if (!(await trying(() => api.label(shown.name, { ...body, label })))) return;
  say(`Labelled as ${label}.`);
  given.push([item, body]);
  await passed();
}

async function passed() {
  items.shift();
  if (items.length) next();
  else await trying(more);
}

async function undo() {
  const last = given.pop();
  if (!last) return;
  if (!(await trying(() => api.label(shown.name, { ...last[1], label: null })))) { given.push(last); return; }
  items.unshift(last[0]);
  say("Taken back.");
  next();
}

for (const button of document.querySelectorAll("[data-label]")) button.addEventListener("click", () => give(button.dataset.label));
$("skip").addEventListener("click", passed);
$("undo").addEventListener("click", undo);
const KEYS = { c: () => give("correct"), i: () => give("incorrect"), a: () => give("abstained"), s: () => items.length && passed(), u: undo };
addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLInputElement && event.target.type !== "range";
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat || $("page").hidden || busy()) return;
  KEYS[event.key]?.();
});

const keys = keysOf({ make, say, trying, sure, when, named });

$("who").value = sessionStorage.getItem("who") ?? "";
trying(async () => {
  const { open: inside } = await api.session();
  if (inside) await start();
  else open(false);
});
